"""RunPod's batch operations at the local endpoint."""

import asyncio

import pytest

from worker_tools.dev import Limits

REQUESTS = [{"input": {"prompt": "a"}}, {"input": {"prompt": "b"}}, {"input": {"prompt": "c"}}]


async def create(api, requests=REQUESTS):
    status, body = await api.call("POST", "/batch", json=requests)
    assert status == 200, body
    return body["id"]


async def get(api, batch_id):
    status, body = await api.call("GET", f"/batch/{batch_id}")
    assert status == 200, body
    return body


async def act(api, batch_id, action):
    return await api.call("POST", f"/batch/{batch_id}/{action}")


def counts(summary):
    names = ("requestTotal", "requestInProgress", "requestCompleted", "requestFailed")
    return tuple(summary[name] for name in names)


async def test_create_returns_draft_that_no_worker_gets(start):
    api = await start(limits=Limits(take_hold_s=0.1))
    status, body = await api.call("POST", "/batch", json=REQUESTS)
    assert status == 200
    assert body == {"id": body["id"], "status": "DRAFT"}
    assert (await api.call("GET", "/job-take/w1?gpu=x"))[0] == 204
    summary = await get(api, body["id"])
    assert summary["status"] == "DRAFT"
    assert counts(summary) == (3, 0, 0, 0)
    assert isinstance(summary["createdAt"], int)


async def test_finalized_batch_is_processed_and_stays_finalized(api):
    batch_id = await create(api, [])
    added = await api.call("POST", f"/batch/{batch_id}/requests", json={"requests": REQUESTS})
    assert added[0] == 200
    assert added[1]["added"] == 3
    assert (await act(api, batch_id, "finalize"))[0] == 200

    jobs = await api.take_batch(3)
    assert [job["batchId"] for job in jobs] == [batch_id] * 3
    assert [job["input"]["prompt"] for job in jobs] == ["a", "b", "c"]
    await api.done(jobs[0]["id"], {"output": ["A"]})
    await api.done(jobs[1]["id"], {"error": "B"})
    assert counts(await get(api, batch_id)) == (3, 1, 1, 1)
    await api.done(jobs[2]["id"], {"output": ["C"]})
    summary = await get(api, batch_id)
    assert summary["status"] == "FINALIZED"
    assert counts(summary) == (3, 0, 2, 1)


async def test_requests_lists_results_in_pages_with_failures_first(api):
    batch_id = await create(api)
    await act(api, batch_id, "finalize")
    jobs = await api.take_batch(3)
    await api.done(jobs[0]["id"], {"output": ["A"]})
    await api.done(jobs[1]["id"], {"error": "B"})
    path = f"/batch/{batch_id}/requests"
    first = (await api.call("GET", f"{path}?limit=2"))[1]
    second = (await api.call("GET", f"{path}?limit=2&offset=2"))[1]
    assert {name: first[name] for name in ("total", "offset", "limit", "hasMore")} == {
        "total": 3,
        "offset": 0,
        "limit": 2,
        "hasMore": True,
    }
    assert not second["hasMore"]
    failed, running, completed = first["requests"] + second["requests"]
    assert (failed["id"], failed["status"], failed["error"]) == (jobs[1]["id"], "FAILED", "B")
    assert failed["startedAt"] <= failed["completedAt"]
    assert (running["status"], "completedAt" in running) == ("IN_PROGRESS", False)
    assert (completed["status"], completed["output"]) == ("COMPLETED", ["A"])


async def test_interactive_job_overtakes_queued_batch(api):
    batch_id = await create(api)
    await act(api, batch_id, "finalize")
    job_id = await api.run("now")
    assert (await api.take())["id"] == job_id


async def test_cancel_drops_queued_requests_and_waits_for_the_running_one(api):
    batch_id = await create(api)
    await act(api, batch_id, "finalize")
    job = await api.take()
    assert (await act(api, batch_id, "cancel"))[1]["status"] == "FINALIZED"
    assert (await api.call("GET", "/health"))[1]["jobs"]["inQueue"] == 0
    assert await api.done(job["id"], {"output": ["A"]}) == 200
    summary = await get(api, batch_id)
    assert summary["status"] == "CANCELLED"
    assert counts(summary) == (3, 0, 1, 0)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/requests", {"requests": REQUESTS}),
        ("POST", "/finalize", None),
        ("DELETE", "/requests/x", None),
    ],
    ids=["add", "finalize", "remove"],
)
async def test_change_of_finalized_batch_is_refused(api, method, path, body):
    batch_id = await create(api)
    await act(api, batch_id, "finalize")
    status, answer = await api.call(method, f"/batch/{batch_id}{path}", json=body)
    assert status == 400
    assert "FINALIZED" in answer["error"]


async def test_remove_takes_one_request_out_of_draft(api):
    batch_id = await create(api)
    listed = (await api.call("GET", f"/batch/{batch_id}/requests"))[1]["requests"]
    status, summary = await api.call("DELETE", f"/batch/{batch_id}/requests/{listed[1]['id']}")
    assert status == 200
    assert summary["requestTotal"] == 2
    assert (await api.call("DELETE", f"/batch/{batch_id}/requests/x"))[0] == 404


async def test_list_shows_names_newest_first(api):
    older, newer = await create(api), await create(api)
    await api.call("PUT", f"/batch/{older}", json={"name": "nightly"})
    listed = (await api.call("GET", "/batch"))[1]["batches"]
    assert [(item["id"], item["name"]) for item in listed] == [(newer, ""), (older, "nightly")]


async def test_append_over_a_limit_is_refused_as_a_whole(start):
    api = await start(limits=Limits(batch_requests=4, batch_body_bytes=1000))
    batch_id = await create(api)
    path = f"/batch/{batch_id}/requests"
    status, answer = await api.call("POST", path, json={"requests": REQUESTS})
    assert status == 400
    assert "4 requests" in answer["error"]
    large = {"requests": [{"input": {"prompt": "x" * 1000}}]}
    assert (await api.call("POST", path, json=large))[0] == 400
    assert counts(await get(api, batch_id)) == (3, 0, 0, 0)


async def test_more_active_batches_than_allowed_are_refused_until_one_ends(start):
    api = await start(limits=Limits(batch_active=2))
    first = await create(api)
    second = await create(api)
    assert (await api.call("POST", "/batch", json=REQUESTS))[0] == 429
    await act(api, first, "cancel")
    await act(api, second, "finalize")
    for job in await api.take_batch(3):
        await api.done(job["id"], {"output": []})
    assert await create(api)
    assert await create(api)


async def test_batch_beyond_the_queue_limit_is_not_finalized(start):
    api = await start(limits=Limits(batch_queued=5))
    first, second = await create(api), await create(api)
    assert (await act(api, first, "finalize"))[0] == 200
    assert (await act(api, second, "finalize"))[0] == 429
    assert (await get(api, second))["status"] == "DRAFT"


@pytest.mark.parametrize("body", [{"requests": []}, [1], [{}], [{"input": None}], "x"], ids=repr)
async def test_create_with_malformed_body_is_refused(api, body):
    status, answer = await api.call("POST", "/batch", json=body)
    assert status == 400
    assert answer["error"]


async def test_empty_batch_is_not_finalized(api):
    assert (await act(api, await create(api, []), "finalize"))[0] == 400


async def test_unknown_batch_is_not_found(api):
    assert (await api.call("GET", "/batch/batch_x"))[0] == 404


@pytest.mark.parametrize("query", ["offset=-1", "limit=0", "limit=x"])
async def test_requests_with_malformed_page_is_refused(api, query):
    batch_id = await create(api)
    assert (await api.call("GET", f"/batch/{batch_id}/requests?{query}"))[0] == 400


async def test_lost_batch_request_returns_to_its_own_queue(start):
    api = await start(limits=Limits(worker_timeout_s=0.1))
    batch_id = await create(api)
    await act(api, batch_id, "finalize")
    taken = await api.take_batch(3)
    api.endpoint.store.lose_worker("w1")
    await asyncio.sleep(0)
    again = await api.take_batch(3, worker="w2")
    assert {job["id"] for job in again} == {job["id"] for job in taken}
