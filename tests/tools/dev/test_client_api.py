import asyncio

import pytest

from worker_tools.dev import Limits
from worker_tools.dev.job import JobStatus


async def test_run_returns_queued_job_and_status_follows_it(api):
    status, body = await api.call("POST", "/run", json={"input": {"prompt": "hi"}})
    assert status == 200
    assert set(body) == {"id", "status"}
    assert body["status"] == "IN_QUEUE"
    job_id = body["id"]
    assert await api.status(job_id) == {"id": job_id, "status": "IN_QUEUE"}

    assert await api.take() == {"id": job_id, "input": {"prompt": "hi"}}
    running = await api.status(job_id)
    assert running["status"] == "IN_PROGRESS"
    assert running["workerId"] == "w1"

    assert await api.done(job_id, {"output": ["a"]}) == 200
    ended = await api.status(job_id)
    assert set(ended) == {"id", "status", "delayTime", "executionTime", "workerId", "output"}
    assert ended["status"] == "COMPLETED"
    assert ended["output"] == ["a"]
    assert isinstance(ended["delayTime"], int)
    assert isinstance(ended["executionTime"], int)


async def test_run_passes_webhook_and_s3_config_to_worker(api):
    s3 = {"accessId": "a", "accessSecret": "b", "bucketName": "c", "endpointUrl": "d"}
    job_id = await api.run("x", webhook="http://127.0.0.1:9/hook", s3Config=s3)
    assert await api.take() == {
        "id": job_id,
        "input": "x",
        "webhook": "http://127.0.0.1:9/hook",
        "s3Config": s3,
    }


async def test_runsync_waits_and_answers_with_result(api):
    waiting = asyncio.create_task(api.call("POST", "/runsync", json={"input": 1}))
    job = await api.take()
    assert job["id"].startswith("sync-")
    await api.done(job["id"], {"output": 2})
    status, body = await waiting
    assert status == 200
    assert (body["id"], body["status"], body["output"]) == (job["id"], "COMPLETED", 2)


async def test_runsync_without_result_in_time_answers_present_state(start):
    api = await start(limits=Limits(runsync_wait_ms=50))
    status, body = await api.call("POST", "/runsync", json={"input": 1})
    assert status == 200
    assert body["status"] == "IN_QUEUE"
    assert (await api.status(body["id"]))["status"] == "IN_QUEUE"


async def test_failed_job_carries_error_as_worker_sent_it(api):
    job_id = await api.run()
    await api.take()
    await api.done(job_id, {"error": '{"error": {"code": "x"}}'})
    body = await api.status(job_id)
    assert body["status"] == "FAILED"
    assert body["error"] == '{"error": {"code": "x"}}'
    assert "output" not in body


async def test_progress_report_shows_as_output_of_running_job(api):
    job_id = await api.run()
    await api.take()
    await api.done(job_id, {"status": "IN_PROGRESS", "output": "half"})
    body = await api.status(job_id)
    assert (body["status"], body["output"]) == ("IN_PROGRESS", "half")


async def test_stream_each_poll_drains(api):
    job_id = await api.run()
    assert (await api.call("GET", f"/stream/{job_id}"))[1] == {"status": "IN_QUEUE", "stream": []}
    await api.take()
    await api.stream(job_id, "a")
    await api.stream(job_id, {"b": 1})
    assert (await api.call("GET", f"/stream/{job_id}"))[1] == {
        "status": "IN_PROGRESS",
        "stream": [{"output": "a"}, {"output": {"b": 1}}],
    }
    await api.stream(job_id, "c")
    await api.done(job_id, {"output": []})
    assert (await api.call("POST", f"/stream/{job_id}"))[1] == {
        "status": "COMPLETED",
        "stream": [{"output": "c"}],
    }
    assert (await api.call("GET", f"/stream/{job_id}"))[1] == {"status": "COMPLETED", "stream": []}


async def test_cancel_queued_job_is_never_handed_out(api):
    first, second = await api.run(1), await api.run(2)
    assert (await api.call("POST", f"/cancel/{first}"))[1] == {"id": first, "status": "CANCELLED"}
    assert (await api.take())["id"] == second


async def test_cancel_finished_job_keeps_its_state(api):
    job_id = await api.run()
    await api.take()
    await api.done(job_id, {"output": 1})
    assert (await api.call("POST", f"/cancel/{job_id}"))[1]["status"] == "COMPLETED"


async def test_retry_runs_failed_job_again_with_same_id_and_input(api):
    job_id = await api.run({"n": 1})
    await api.take()
    await api.stream(job_id, "old")
    await api.done(job_id, {"error": "boom"})
    assert await api.call("POST", f"/retry/{job_id}") == (200, {"id": job_id, "status": "IN_QUEUE"})
    assert await api.status(job_id) == {"id": job_id, "status": "IN_QUEUE"}
    assert await api.take() == {"id": job_id, "input": {"n": 1}}
    await api.stream(job_id, "new")
    await api.done(job_id, {"output": ["new"]})
    assert (await api.call("GET", f"/stream/{job_id}"))[1]["stream"] == [{"output": "new"}]
    assert (await api.status(job_id))["output"] == ["new"]
    assert (await api.call("GET", "/health"))[1]["jobs"]["retried"] == 1


async def test_retry_completed_job_is_refused(api):
    job_id = await api.run()
    await api.take()
    await api.done(job_id, {"output": 1})
    status, body = await api.call("POST", f"/retry/{job_id}")
    assert status == 400
    assert "COMPLETED" in body["error"]


async def test_purge_queue_removes_queued_jobs_only(api):
    running = await api.run()
    await api.take()
    queued = [await api.run(), await api.run()]
    assert (await api.call("POST", "/purge-queue"))[1] == {"removed": 2, "status": "completed"}
    assert (await api.status(running))["status"] == "IN_PROGRESS"
    assert [(await api.status(job_id))["status"] for job_id in queued] == ["CANCELLED"] * 2


async def test_health_counts_jobs_and_workers(api):
    api.endpoint.worker_environment("w2")
    first = await api.run()
    await api.take()
    await api.done(first, {"output": 1})
    await api.run()
    await api.take()
    await api.run()
    assert (await api.call("GET", "/health"))[1] == {
        "jobs": {"completed": 1, "failed": 0, "inProgress": 1, "inQueue": 1, "retried": 0},
        "workers": {
            "idle": 0,
            "initializing": 1,
            "ready": 1,
            "running": 1,
            "throttled": 0,
            "unhealthy": 0,
        },
    }


async def test_requests_lists_jobs(api):
    job_id = await api.run()
    assert (await api.call("GET", "/requests"))[1] == {
        "requests": [{"id": job_id, "status": "IN_QUEUE"}]
    }


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "words"),
    [
        pytest.param("POST", "/run", {"data": b"{"}, 400, "not valid JSON", id="not-json"),
        pytest.param("POST", "/run", {"json": [1]}, 400, "JSON object", id="not-an-object"),
        pytest.param("POST", "/run", {"json": {"prompt": "x"}}, 400, '"input"', id="no-input"),
        pytest.param("POST", "/run", {"json": {"input": None}}, 400, '"input"', id="null-input"),
        pytest.param(
            "POST", "/run", {"json": {"input": 1, "webhook": 2}}, 400, "webhook", id="webhook-type"
        ),
        pytest.param(
            "POST",
            "/run",
            {"json": {"input": 1, "policy": {"executionTimeout": 10}}},
            400,
            "policy.executionTimeout",
            id="execution-timeout-range",
        ),
        pytest.param(
            "POST",
            "/run",
            {"json": {"input": 1, "policy": {"ttl": 9999}}},
            400,
            "policy.ttl",
            id="ttl-range",
        ),
        pytest.param(
            "POST", "/runsync?wait=10", {"json": {"input": 1}}, 400, "1000", id="wait-range"
        ),
        pytest.param(
            "POST", "/runsync?wait=x", {"json": {"input": 1}}, 400, "1000", id="wait-not-a-number"
        ),
        pytest.param("GET", "/status/nope", {}, 404, "job nope not found", id="unknown-job"),
        pytest.param("GET", "/stream/nope", {}, 404, "job nope not found", id="unknown-stream"),
        pytest.param("POST", "/cancel/nope", {}, 404, "job nope not found", id="unknown-cancel"),
        pytest.param("GET", "/nothing", {}, 404, "no such operation", id="unknown-operation"),
        pytest.param("GET", "/run", {}, 405, "takes POST", id="wrong-method"),
    ],
)
async def test_bad_request_gets_json_error(api, method, path, options, status, words):
    got, body = await api.call(method, path, **options)
    assert got == status
    assert words in body["error"]


@pytest.mark.parametrize("path", ["/run", "/runsync"])
@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
async def test_body_over_limit_is_refused(start, path, chunked):
    api = await start(limits=Limits(run_body_bytes=100, runsync_body_bytes=100))
    body = b'{"input": "' + b"x" * 200 + b'"}'

    async def chunks():
        yield body[:50]
        yield body[50:]

    status, answer = await api.call("POST", path, data=chunks() if chunked else body)
    assert status == 400
    assert "max body size" in answer["error"]
    assert api.endpoint.jobs == {}


async def test_result_is_deleted_after_its_retention(start):
    api = await start(limits=Limits(run_retention_s=0.05))
    job_id = await api.run()
    await api.take()
    await api.done(job_id, {"output": 1})
    assert (await api.status(job_id))["status"] == "COMPLETED"
    await asyncio.sleep(0.1)
    assert (await api.call("GET", f"/status/{job_id}"))[0] == 404


async def test_runsync_wait_prolongs_retention(api):
    waiting = asyncio.create_task(api.call("POST", "/runsync?wait=300000", json={"input": 1}))
    job = await api.take()
    await api.done(job["id"], {"output": 1})
    await waiting
    assert api.endpoint.jobs[job["id"]].request.retention_s == 300


async def test_execution_timeout_ends_job_and_stops_worker(start):
    api = await start(limits=Limits(execution_timeout_ms=50))
    job_id = await api.run()
    await api.take()
    assert await api.call("GET", "/job-stop/w1?gpu=x") == (200, {"jobsToStop": [job_id]})
    body = await api.status(job_id)
    assert body["status"] == "TIMED_OUT"
    assert "50 ms" in body["error"]


async def test_ttl_deletes_job_even_while_it_runs(start):
    api = await start(limits=Limits(ttl_ms=100))
    job_id = await api.run()
    await api.take()
    job = api.endpoint.jobs[job_id]
    assert await api.call("GET", "/job-stop/w1?gpu=x") == (200, {"jobsToStop": [job_id]})
    assert job.status is JobStatus.TIMED_OUT
    assert (await api.call("GET", f"/status/{job_id}"))[0] == 404


async def test_dev_job_has_times_and_posts(api):
    job_id = await api.run()
    await api.take()
    await api.stream(job_id, "ab")
    await api.done(job_id, {"output": ["ab"]})
    await api.done(job_id, {"output": ["again"]})
    body = (await api.call("GET", f"/_dev/jobs/{job_id}"))[1]
    assert body["status"] == "COMPLETED"
    assert body["attempts"] == 1
    assert 0 <= body["takenMs"] <= body["firstChunkMs"] <= body["finishedMs"]
    assert body["totals"]["stream"] == {"posts": 1, "bytes": len('{"output": "ab"}')}
    assert [(post["operation"], post["late"]) for post in body["posts"]] == [
        ("stream", False),
        ("done", False),
        ("done", True),
    ]
    assert api.endpoint.jobs[job_id].output == ["ab"]
