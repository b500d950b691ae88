"""How the job loop takes jobs and delivers results, with the real SDK and endpoint."""

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress

import pytest

from tests.support.queue_deployment import ENVIRON, LIMITS, LONG_S, PLACES, WORKER, deploy, error_of
from worker.engine.parent_death import group_is_alive
from worker.request.codes import Code
from worker_tools.dev import Fault, LocalEndpoint
from worker_tools.dev.deployment import DEFAULTS
from worker_tools.dev.job import JobStatus

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_outputs_arrive_in_order_and_the_result_is_complete(queue):
    outputs = [f"data: {number} Grüße 🦙\n\n" for number in range(30)]
    job = await queue.run(outputs=outputs)
    assert job.status == JobStatus.COMPLETED
    assert job.chunks == outputs
    assert job.output == outputs
    assert not any(post.late for post in job.metrics.posts)


async def test_jobs_above_the_concurrency_wait_and_are_all_served(queue):
    jobs = [queue.submit(sleep_s=0.05, report=True) for _ in range(3 * PLACES)]
    for job in jobs:
        assert await job.finished(15)
    assert {job.status for job in jobs} == {JobStatus.COMPLETED}
    assert max(job.output[0]["most"] for job in jobs) == PLACES


async def test_cancelled_job_reaches_the_handler_and_the_others_go_on(queue):
    cancelled, other = queue.submit(sleep_s=LONG_S), queue.submit(sleep_s=0.5)
    await queue.wait_for_line(f"{cancelled.id} sleeps")
    queue.endpoint.store.cancel(cancelled)
    await queue.wait_for_line(f"{cancelled.id} cancelled")
    assert await other.finished(15)
    assert other.status == JobStatus.COMPLETED
    assert cancelled.status == JobStatus.CANCELLED
    assert (await queue.run(outputs=["a"])).output == ["a"]


async def test_error_of_the_handler_fails_the_job_with_its_json(queue):
    job = await queue.run(outputs=["a"], error="my_code")
    assert job.status == JobStatus.FAILED
    assert error_of(job) == {"code": "my_code"}
    assert job.chunks == ["a"]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"status": 500}, id="500"),
        pytest.param({"body": b"<html>"}, id="garbage"),
        pytest.param({"drop": True}, id="dropped"),
    ],
)
async def test_take_that_goes_wrong_is_repeated(queue, fault):
    queue.endpoint.faults.add(Fault("take", **fault))
    # The take that is open already is answered in order; the one after it goes wrong.
    jobs = [await queue.run(outputs=[number]) for number in range(2)]
    assert [job.output for job in jobs] == [[0], [1]]


async def test_take_that_is_one_too_many_is_repeated_later(queue):
    queue.endpoint.faults.add(Fault("take", status=429))
    jobs = [await queue.run(outputs=[number]) for number in range(2)]
    assert [job.output for job in jobs] == [[0], [1]]


async def test_jobs_one_after_the_other_do_not_wait_for_a_poll(queue):
    jobs = [await queue.run(outputs=["a"]) for _ in range(20)]
    waits = sorted(job.metrics.first_chunk_s - job.metrics.taken_s for job in jobs)
    # The SDK's loop needs up to 0.1 s each; the quickest of these show that nothing is waited for.
    assert waits[len(waits) // 4] < 0.04


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault("stream", status=500), id="500"),
        pytest.param(Fault("stream", status=429), id="429"),
        pytest.param(Fault("stream", drop=True), id="dropped"),
    ],
)
async def test_stream_post_that_fails_once_is_repeated_in_order(queue, fault):
    queue.endpoint.faults.add(fault)
    job = await queue.run(outputs=["a", "b", "c"])
    assert job.chunks == ["a", "b", "c"]
    assert job.output == ["a", "b", "c"]


async def test_stream_post_that_is_refused_is_not_repeated_and_the_result_is_complete(queue):
    queue.endpoint.faults.add(Fault("stream", status=400))
    job = await queue.run(outputs=["a", "b", "c"])
    assert job.chunks == ["b", "c"]
    assert job.output == ["a", "b", "c"]


async def test_job_done_that_is_refused_several_times_is_accepted_in_the_end(queue):
    queue.endpoint.faults.add(Fault("done", status=502))
    queue.endpoint.faults.add(Fault("done", drop=True))
    queue.endpoint.faults.add(Fault("done", status=429))
    job = await queue.run(outputs=["a"])
    assert job.status == JobStatus.COMPLETED
    assert job.output == ["a"]


async def test_result_over_the_limit_is_an_error_that_says_so(queue):
    job = await queue.run(outputs=["a"], bytes=20_000_001)
    assert job.status == JobStatus.FAILED
    error = error_of(job)
    assert error["code"] == Code.RESULT_TOO_LARGE
    assert "20000000" in error["message"]
    assert "stream of 2 chunks was delivered" in error["message"], (
        "the reader of the stream lacks nothing"
    )
    assert sum(map(len, job.chunks)) == 1 + 20_000_001
    line_part = f"Failed with {Code.RESULT_TOO_LARGE}"
    await queue.wait_for(lambda: any(line_part in line and job.id in line for line in queue.lines))


async def test_text_larger_than_a_post_may_be_reaches_the_reader_of_the_stream(queue):
    job = await queue.run(outputs=["a"], bytes=24_000_000)
    assert sum(map(len, job.chunks)) == 1 + 24_000_000
    assert error_of(job)["code"] == Code.RESULT_TOO_LARGE


async def test_object_larger_than_a_post_may_be_is_an_error_that_says_so(queue):
    job = await queue.run(outputs=[{"text": "x" * 9}], object_bytes=20_000_001)
    assert job.chunks == [{"text": "x" * 9}]
    assert error_of(job)["code"] == Code.RESULT_TOO_LARGE


async def test_exception_of_the_handler_is_an_error_without_details(queue):
    job = await queue.run(**{"outputs": [{"n": 1}], "raise": "a detail"})
    assert job.status == JobStatus.FAILED
    assert error_of(job)["code"] == Code.INTERNAL_ERROR
    assert "a detail" not in job.error
    await queue.wait_for(lambda: any("The handler failed" in line for line in queue.lines))
    assert any(", in run" in line for line in queue.lines), "the log has the place"
    assert not any("a detail" in line for line in queue.lines)


async def test_job_without_id_or_with_the_id_of_a_running_one_is_skipped(queue):
    running = queue.submit(sleep_s=0.3)
    await queue.wait_running(running)
    body = json.dumps([{"input": {}}, {"id": running.id, "input": {"outputs": ["twice"]}}]).encode()
    queue.endpoint.faults.add(Fault("take", body=body))
    after = await queue.run(outputs=["after"])
    assert await running.finished(15)
    assert running.chunks == []
    assert after.output == ["after"]
    # The take that was open when the fault was added may have brought `after` itself.
    assert (await queue.run(outputs=["last"])).output == ["last"]


async def test_heartbeat_reaches_the_platform(queue):
    assert queue.endpoint.store.workers.get("worker-1").pings > 0


# The end of a worker


async def test_sigterm_lets_running_jobs_end_and_takes_no_more():
    async with deploy() as queue:
        running = queue.submit(outputs=["a"], sleep_s=1.6)
        await queue.wait_running(running)
        queue.process.terminate()
        await queue.wait_for_line("drains")
        assert await running.finished(15)
        late = queue.submit(outputs=["b"])
        assert await asyncio.wait_for(queue.deployment.wait(), 15) == 0
        assert (running.status, running.output) == (JobStatus.COMPLETED, ["a"])
        assert late.status is JobStatus.IN_QUEUE


async def test_jobs_that_do_not_end_in_time_are_reported_as_stopped():
    async with deploy("--drain", "0.2") as queue:
        jobs = [queue.submit(outputs=["a"], sleep_s=LONG_S) for _ in range(2)]
        for job in jobs:
            await queue.wait_for_line(f"{job.id} sleeps")
        queue.process.terminate()
        assert await asyncio.wait_for(queue.deployment.wait(), 15) == 0
        for job in jobs:
            assert job.status is JobStatus.FAILED
            assert error_of(job)["code"] == Code.WORKER_STOPPING
            assert error_of(job)["retryable"] is True
            assert job.chunks == ["a"]


@pytest.mark.parametrize("drain", ["0", "0.1"])
async def test_job_that_the_last_take_brings_after_the_drain_timeout_is_reported(drain):
    async with deploy("--drain", drain) as queue:
        queue.endpoint.rtt_ms = 800
        # The take that is open now was asked for without delay; the next one travels slowly.
        await queue.run(outputs=["a"])
        await queue.wait_for(lambda: queue.endpoint.store.workers.get("worker-1").polls > 1)
        job = queue.submit(sleep_s=LONG_S)
        await queue.wait_running(job)
        queue.process.terminate()
        assert await asyncio.wait_for(queue.deployment.wait(), 30) == 0
        assert job.status is JobStatus.FAILED
        assert error_of(job)["code"] == Code.WORKER_STOPPING
        assert error_of(job)["retryable"] is True


async def test_heartbeat_process_dies_with_a_killed_worker():
    endpoint = LocalEndpoint(limits=LIMITS)
    await endpoint.start()
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        str(WORKER),
        env={**DEFAULTS, **ENVIRON, **endpoint.worker_environment("w")},
        stdout=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(15):
            while not endpoint.store.workers.get("w").pings:
                await asyncio.sleep(0.01)
        worker.kill()
        await worker.wait()
        async with asyncio.timeout(15):
            while group_is_alive(worker.pid):
                await asyncio.sleep(0.01)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        await endpoint.stop()
