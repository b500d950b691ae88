import asyncio
import time

import aiohttp
import pytest

from worker_tools.dev import Fault, Faults, Limits
from worker_tools.dev.worker_api import split_output


async def test_take_holds_until_a_job_arrives(api):
    taking = asyncio.create_task(api.take())
    await asyncio.sleep(0.05)
    assert not taking.done()
    job_id = await api.run("now")
    assert await taking == {"id": job_id, "input": "now"}


async def test_take_without_jobs_answers_204_after_its_hold(start):
    api = await start(limits=Limits(take_hold_s=0.05))
    began = time.monotonic()
    assert await api.call("GET", "/job-take/w1?gpu=x") == (204, "")
    assert 0.04 < time.monotonic() - began < Limits().take_hold_s


async def test_take_batch_hands_out_at_most_its_size(api):
    ids = [await api.run(n) for n in range(3)]
    jobs = await api.take_batch(2)
    assert [(job["id"], job["input"]) for job in jobs] == [(ids[0], 0), (ids[1], 1)]
    assert [job["id"] for job in await api.take_batch(2)] == [ids[2]]


@pytest.mark.parametrize("size", ["0", "-1", "x", "100000"])
async def test_take_batch_with_bad_size_is_refused(api, size):
    status, body = await api.call("GET", f"/job-take-batch/w1?gpu=x&batch_size={size}")
    assert status == 400
    assert "batch_size" in body["error"]


async def test_two_workers_share_the_queue_and_no_job_is_handed_out_twice(api):
    taking = [asyncio.create_task(api.take(f"w{n}")) for n in (1, 2)]
    await asyncio.sleep(0.02)
    ids = [await api.run(n) for n in range(2)]
    assert {job["id"] for job in await asyncio.gather(*taking)} == set(ids)


async def test_job_for_a_closed_take_goes_to_the_next_one(api):
    async with aiohttp.ClientSession() as leaving:
        gone = asyncio.create_task(leaving.get(api.endpoint.url + "/job-take/w1?gpu=x"))
        await asyncio.sleep(0.05)
        gone.cancel()
    job_id = await api.run()
    assert (await asyncio.wait_for(api.take("w2"), 2))["id"] == job_id


async def test_job_whose_reply_cannot_be_written_goes_back_in_front(start):
    api = await start(rtt_ms=400)
    first = await api.run(1)
    second = await api.run(2)
    async with aiohttp.ClientSession() as leaving:
        gone = asyncio.create_task(leaving.get(api.endpoint.url + "/job-take/w1?gpu=x"))
        # Half the round trip is over: the job is handed out, but not yet delivered.
        await api.endpoint.jobs[first].changed()
        assert api.endpoint.jobs[first].status == "IN_PROGRESS"
        gone.cancel()
    await api.endpoint.jobs[first].changed()
    assert api.endpoint.jobs[first].status == "IN_QUEUE"
    assert [job["id"] for job in await api.take_batch(2, "w2")] == [first, second]


async def test_cancel_reaches_worker_through_its_own_stop_poll(api):
    job_id = await api.run()
    await api.take("w1")
    own = asyncio.create_task(api.call("GET", "/job-stop/w1?gpu=x"))
    other = asyncio.create_task(api.call("GET", "/job-stop/w2?gpu=x"))
    await asyncio.sleep(0.02)
    await api.call("POST", f"/cancel/{job_id}")
    assert await asyncio.wait_for(own, 1) == (200, {"jobsToStop": [job_id]})
    await asyncio.sleep(0.02)
    assert not other.done()
    other.cancel()


async def test_stop_signal_is_kept_until_a_poll_receives_it(api):
    job_id = await api.run()
    await api.take()
    async with aiohttp.ClientSession() as leaving:
        gone = asyncio.create_task(leaving.get(api.endpoint.url + "/job-stop/w1?gpu=x"))
        await asyncio.sleep(0.05)
        gone.cancel()
    await api.call("POST", f"/cancel/{job_id}")
    assert await api.call("GET", "/job-stop/w1?gpu=x") == (200, {"jobsToStop": [job_id]})


async def test_stop_without_signals_answers_204_after_its_hold(start):
    api = await start(limits=Limits(stop_hold_s=0.05))
    assert await api.call("GET", "/job-stop/w1?gpu=x") == (204, "")


async def test_cancel_before_delivery_is_announced_after_delivery(start):
    api = await start(rtt_ms=400)
    job_id = await api.run()
    stopping = asyncio.create_task(api.call("GET", "/job-stop/w1?gpu=x"))
    taking = asyncio.create_task(api.take())
    await api.endpoint.jobs[job_id].changed()
    await api.call("POST", f"/cancel/{job_id}")
    assert not taking.done()
    assert (await taking)["id"] == job_id
    assert not stopping.done()
    assert await stopping == (200, {"jobsToStop": [job_id]})


@pytest.mark.parametrize("operation", ["stream", "done"])
async def test_late_post_is_accepted_and_ignored(api, operation):
    job_id = await api.run()
    await api.take()
    await api.call("POST", f"/cancel/{job_id}")
    if operation == "stream":
        assert await api.stream(job_id, "late") == 200
    else:
        assert await api.done(job_id, {"output": "late"}) == 200
    body = await api.status(job_id)
    assert body["status"] == "CANCELLED"
    assert "output" not in body
    assert (await api.call("GET", f"/stream/{job_id}"))[1]["stream"] == []


async def test_post_of_a_worker_that_does_not_have_the_job_is_ignored(api):
    job_id = await api.run()
    await api.take("w1")
    assert await api.done(job_id, {"output": "stolen"}, worker="w2") == 200
    assert (await api.status(job_id))["status"] == "IN_PROGRESS"


async def test_post_for_unknown_job_is_accepted(api):
    assert await api.done("nope", {"output": 1}) == 200


async def test_done_over_limit_is_refused_and_job_goes_on(start):
    api = await start(limits=Limits(done_body_bytes=100))
    job_id = await api.run()
    await api.take()
    assert await api.done(job_id, {"output": "x" * 200}) == 400
    assert (await api.status(job_id))["status"] == "IN_PROGRESS"


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"no": 1}'], ids=["text", "list", "no-output"])
async def test_stream_with_bad_body_is_refused(api, data):
    job_id = await api.run()
    await api.take()
    path = f"/job-stream/w1/{job_id}?gpu=x&isStream=false"
    assert (await api.call("POST", path, data=data))[0] == 400


async def test_large_stream_text_is_split(start):
    api = await start(limits=Limits(chunk_bytes=10))
    job_id = await api.run()
    await api.take()
    await api.stream(job_id, "é" * 12)
    stream = (await api.call("GET", f"/stream/{job_id}"))[1]["stream"]
    assert [chunk["output"] for chunk in stream] == ["é" * 5, "é" * 5, "é" * 2]


@pytest.mark.parametrize(
    ("output", "limit", "chunks"),
    [
        pytest.param("abc", 100, ["abc"], id="small"),
        pytest.param("abcdef", 4, ["abcd", "ef"], id="ascii"),
        pytest.param("🦙🦙", 5, ["🦙", "🦙"], id="four-byte"),
        pytest.param("aé🦙", 4, ["aé", "🦙"], id="mixed"),
        pytest.param({"a": "x" * 50}, 4, [{"a": "x" * 50}], id="object-stays-whole"),
        pytest.param("", 4, [""], id="empty"),
    ],
)
def test_split_output_cuts_between_characters(output, limit, chunks):
    assert split_output(output, limit) == chunks


async def test_lost_worker_job_goes_to_another_one_then_times_out(start):
    api = await start(limits=Limits(worker_timeout_s=0.1))
    job_id = await api.run()
    await api.take("w1")
    await api.stream(job_id, "half", worker="w1")
    assert (await api.take("w2"))["id"] == job_id
    assert (await api.call("GET", f"/stream/{job_id}"))[1]["stream"] == []
    assert (await api.call("GET", "/health"))[1]["jobs"]["retried"] == 1
    assert await asyncio.wait_for(api.endpoint.jobs[job_id].finished(), 2)
    body = await api.status(job_id)
    assert body["status"] == "TIMED_OUT"
    assert "w2 stopped reporting" in body["error"]
    assert (await api.call("GET", "/health"))[1]["workers"]["unhealthy"] == 2


async def test_job_missing_from_heartbeats_is_lost_though_its_worker_lives(start):
    api = await start(limits=Limits(worker_timeout_s=0.2, lost_job_retries=0))
    kept, dropped = await api.run(1), await api.run(2)
    await api.take_batch(2)

    async def beat():
        while True:
            await api.call("GET", f"/ping/w1?gpu=x&job_id={kept}&runpod_version=1")
            await asyncio.sleep(0.03)

    beating = asyncio.create_task(beat())
    assert await asyncio.wait_for(api.endpoint.jobs[dropped].finished(), 2)
    beating.cancel()
    assert (await api.status(dropped))["status"] == "TIMED_OUT"
    assert (await api.status(kept))["status"] == "IN_PROGRESS"


async def test_open_poll_is_a_sign_of_life(start):
    api = await start(limits=Limits(worker_timeout_s=0.05))
    job_id = await api.run()
    await api.take()
    stopping = asyncio.create_task(api.call("GET", "/job-stop/w1?gpu=x"))
    await asyncio.sleep(0.2)
    assert (await api.status(job_id))["status"] == "IN_PROGRESS"
    stopping.cancel()


async def test_ping_reports_a_failed_fitness_check(api):
    await api.call("GET", "/ping/w1?gpu=x&status=unhealthy&check=gpu&reason=none")
    assert api.endpoint.store.workers.get("w1").unhealthy == "gpu: none"
    assert (await api.call("GET", "/health"))[1]["workers"]["unhealthy"] == 1


async def test_ping_accepts_the_url_of_300_jobs(api):
    ids = ",".join(await asyncio.gather(*(api.run(n) for n in range(300))))
    assert len(ids) > 8190
    assert (await api.call("GET", f"/ping/w1?gpu=x&job_id={ids}"))[0] == 200


async def test_stop_pod_in_a_result_is_noted(api):
    job_id = await api.run()
    await api.take()
    await api.done(job_id, {"output": 1, "stopPod": True})
    assert api.endpoint.store.workers.get("w1").stop_pod
    assert (await api.status(job_id))["status"] == "COMPLETED"


async def test_rtt_delays_worker_calls_only(start):
    api = await start(rtt_ms=1000)
    began = time.monotonic()
    job_id = await api.run()
    assert time.monotonic() - began < 0.95
    began = time.monotonic()
    await api.take()
    assert time.monotonic() - began > 0.95
    began = time.monotonic()
    await api.stream(job_id, "a")
    assert time.monotonic() - began > 0.95


async def test_fault_status_is_answered_for_the_next_calls_without_effect(start):
    faults = Faults(Fault("stream", calls=2, status=500))
    api = await start(faults=faults)
    job_id = await api.run()
    await api.take()
    assert [await api.stream(job_id, n) for n in range(3)] == [500, 500, 200]
    assert api.endpoint.jobs[job_id].chunks == [2]


async def test_fault_processed_takes_effect_and_loses_the_reply(start):
    api = await start(faults=Faults(Fault("stream", status=502, processed=True)))
    job_id = await api.run()
    await api.take()
    assert [await api.stream(job_id, "same"), await api.stream(job_id, "same")] == [502, 200]
    assert api.endpoint.jobs[job_id].chunks == ["same", "same"]


@pytest.mark.parametrize(("processed", "chunks"), [(False, []), (True, ["a"])])
async def test_fault_drop_closes_the_connection(start, processed, chunks):
    api = await start(faults=Faults(Fault("stream", drop=True, processed=processed)))
    job_id = await api.run()
    await api.take()
    with pytest.raises(aiohttp.ClientConnectionError):
        await api.stream(job_id, "a")
    assert api.endpoint.jobs[job_id].chunks == chunks


async def test_fault_drop_of_a_processed_take_counts_as_delivered(start):
    api = await start(faults=Faults(Fault("take", drop=True, processed=True)))
    job_id = await api.run()
    # Not aiohttp's client: it repeats a GET on a dropped connection once by itself.
    reader, writer = await asyncio.open_connection("127.0.0.1", api.endpoint.port)
    writer.write(b"GET /v2/local/job-take/w1?gpu=x HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert await reader.read() == b""
    writer.close()
    assert (await api.status(job_id))["status"] == "IN_PROGRESS"


async def test_fault_body_and_delay_reach_the_worker(start):
    faults = Faults(Fault("take", body=b"<html>", delay_s=0.05))
    api = await start(faults=faults)
    job_id = await api.run()
    began = time.monotonic()
    async with api.session.get(api.endpoint.url + "/job-take/w1?gpu=x") as response:
        assert (response.status, await response.read()) == (200, b"<html>")
    assert time.monotonic() - began > 0.04
    assert (await api.take())["id"] == job_id


async def test_fault_can_be_added_while_the_endpoint_runs(api):
    api.endpoint.faults.add(Fault("ping", status=429))
    assert (await api.call("GET", "/ping/w1?gpu=x"))[0] == 429
    assert (await api.call("GET", "/ping/w1?gpu=x"))[0] == 200
