"""The rules of queue and states where the order of events matters; no HTTP."""

import asyncio

import pytest

from worker_tools.dev.job import JobRequest, JobStatus
from worker_tools.dev.limits import Limits
from worker_tools.dev.store import JobStore


def request(job_input="x", **options):
    defaults = {"sync": False, "execution_timeout_ms": 60_000, "ttl_ms": 60_000, "retention_s": 60}
    return JobRequest(input=job_input, **{**defaults, **options})


@pytest.fixture
async def store():
    opened = JobStore(Limits())
    yield opened
    opened.close()


async def test_take_waiting_takers_are_served_in_order(store):
    takers = [asyncio.create_task(store.take(f"w{n}", 1)) for n in range(3)]
    await asyncio.sleep(0)
    jobs = [store.submit(request(n)) for n in range(3)]
    taken = await asyncio.gather(*takers)
    assert [job.id for (job,) in taken] == [job.id for job in jobs]


async def test_take_cancelled_after_its_wake_up_passes_the_job_on(store):
    first = asyncio.create_task(store.take("w1", 1))
    second = asyncio.create_task(store.take("w2", 1))
    await asyncio.sleep(0)
    job = store.submit(request())
    # The first taker is woken by now, but has not run yet.
    first.cancel()
    assert await asyncio.wait_for(second, 1) == [job]
    assert job.worker_id == "w2"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_take_batch_collects_what_arrived_in_the_same_moment(store):
    taking = asyncio.create_task(store.take("w1", 10))
    await asyncio.sleep(0)
    jobs = [store.submit(request(n)) for n in range(4)]
    assert await taking == jobs


async def test_give_back_keeps_a_job_that_was_cancelled_meanwhile(store):
    job = store.submit(request())
    taken = await store.take("w1", 1)
    store.cancel(job)
    store.give_back(taken)
    assert job.status is JobStatus.CANCELLED
    assert store.job_counts()["inQueue"] == 0


async def test_give_back_is_not_counted_as_retried(store):
    job = store.submit(request())
    store.give_back(await store.take("w1", 1))
    assert job.status is JobStatus.IN_QUEUE
    assert store.job_counts()["retried"] == 0
    assert await store.take("w2", 1) == [job]


async def test_drain_ends_polls_and_hands_out_no_more_jobs(store):
    taking = asyncio.create_task(store.take("w1", 1))
    stopping = asyncio.create_task(store.stop_signals("w1"))
    await asyncio.sleep(0)
    store.drain()
    taken, stopped = await asyncio.wait_for(asyncio.gather(taking, stopping), 0.1)
    assert (taken, stopped) == ([], [])
    job = store.submit(request())
    assert await store.take("w1", 1) == []
    assert job.status is JobStatus.IN_QUEUE


async def test_restore_stops_comes_before_newer_ones(store):
    jobs = [store.submit(request(n)) for n in range(2)]
    store.confirm(await store.take("w1", 2))
    store.cancel(jobs[0])
    unread = await store.stop_signals("w1")
    store.cancel(jobs[1])
    store.restore_stops("w1", unread)
    assert await store.stop_signals("w1") == [job.id for job in jobs]


async def test_on_finish_is_called_once_per_end(store):
    ended = []
    store.on_finish = ended.append
    job = store.submit(request())
    await store.take("w1", 1)
    store.finish("w1", job.id, {"error": "boom"}, 1)
    store.finish("w1", job.id, {"output": 1}, 1)
    store.cancel(job)
    assert ended == [job]
    store.retry(job)
    await store.take("w1", 1)
    store.finish("w1", job.id, {"output": 1}, 1)
    assert ended == [job, job]
    assert store.job_counts()["failed"] == 1
    assert store.job_counts()["completed"] == 1


async def test_retry_restarts_execution_clock_and_keeps_submission_time(store):
    job = store.submit(request(execution_timeout_ms=50))
    await store.take("w1", 1)
    assert await job.finished(2)
    assert job.status is JobStatus.TIMED_OUT
    submitted_s = job.metrics.submitted_s
    assert store.retry(job)
    await store.take("w1", 1)
    store.finish("w1", job.id, {"output": 1}, 1)
    assert (job.status, job.error) == (JobStatus.COMPLETED, None)
    assert job.metrics.submitted_s == submitted_s
    assert "execution" not in job.timers


async def test_lose_worker_twice_loses_its_job_once(store):
    job = store.submit(request())
    store.confirm(await store.take("w1", 1))
    store.lose_worker("w1")
    store.lose_worker("w1")
    assert (job.status, job.losses) == (JobStatus.IN_QUEUE, 1)


async def test_finished_returns_whether_the_job_ended_in_time(store):
    job = store.submit(request())
    assert not await job.finished(0.01)
    store.cancel(job)
    assert await job.finished(0.01)


async def test_payload_of_a_cancelled_queued_job_has_no_times(store):
    job = store.submit(request())
    store.cancel(job)
    assert job.payload() == {"id": job.id, "status": "CANCELLED"}
