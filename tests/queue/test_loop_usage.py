"""The usage record of a job in the log of a queue worker."""

import asyncio
import json

import pytest

from tests.fakes.runpod_platform import JobQueue, JobRunner
from worker.queue import loop as loop_module
from worker.queue import sdk
from worker.queue.loop import EventDrivenScaler
from worker.usage import LOG_PREFIX, UsageMeter

ANSWER = {"model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


async def answer(_job):
    yield ANSWER


@pytest.fixture
def logged(monkeypatch):
    lines = []
    monkeypatch.setattr(sdk.runpod_log, "info", lambda text, *_: lines.append(text))
    return lines


@pytest.fixture
def run_jobs(monkeypatch):
    """Give jobs to a scaler, and return when all have ended."""
    monkeypatch.setattr(loop_module, "JobRunner", lambda _session: JobRunner())

    async def run(scaler: EventDrivenScaler, *jobs: dict) -> None:
        platform = JobQueue()
        scaler.jobs_fetcher = platform.fetch  # type: ignore[assignment]
        platform.give(list(jobs))
        running = asyncio.create_task(scaler.run())
        async with asyncio.timeout(15):
            while not platform.asked:
                await asyncio.sleep(0)
            scaler.kill_worker()
            await running

    return run


async def test_job_has_a_usage_record(logged, run_jobs):
    meter = UsageMeter(1, "served")
    scaler = EventDrivenScaler(answer, 1, meter)
    await run_jobs(scaler, {"id": "j", "input": {"prompt": "secret words"}})
    assert len(logged) == 2
    record = json.loads(logged[1].removeprefix(LOG_PREFIX))
    assert (record["id"], record["model"]) == ("j", "m")
    assert (record["tokens"]["input"], record["tokens"]["output"]) == (3, 2)
    assert record["first_token_s"] <= record["total_s"]
    assert "secret" not in logged[1]


async def test_native_job_has_a_record_with_the_model_that_it_asked_for(logged, run_jobs):
    async def answer_natively(_job):
        yield {"choices": [{"tokens": ["x"]}], "usage": {"input": 3, "output": 1}}

    scaler = EventDrivenScaler(answer_natively, 1, UsageMeter(1, "served"))
    await run_jobs(scaler, {"id": "j", "input": {"model": "adapter"}})
    record = json.loads(logged[-1].removeprefix(LOG_PREFIX))
    assert (record["model"], record["tokens"]["input"]) == ("adapter", 3)


async def test_failed_job_has_a_record_without_the_text_that_it_sent_as_model(logged, run_jobs):
    async def fail(_job):
        raise ValueError("not for the log")
        yield

    scaler = EventDrivenScaler(fail, 1, UsageMeter(1, "served"))
    await run_jobs(scaler, {"id": "j", "input": {"model": "secret words"}})
    record = json.loads(logged[-1].removeprefix(LOG_PREFIX))
    assert record["model"] == "served"
    assert record["tokens"]["input"] is None


async def test_jobs_share_the_gpu_until_each_ends(logged, run_jobs):
    """A job whose end is not recorded would take a share of the GPU's time forever."""
    now = [0.0]
    meter = UsageMeter(1, "served", clock=lambda: now[0])
    scaler = EventDrivenScaler(answer, 2, meter)
    await run_jobs(scaler, {"id": "a", "input": None}, {"id": "b", "input": None})
    alone = meter.start()
    now[0] += 10
    alone.end()
    assert alone.gpu_s == 10


async def test_job_without_a_meter_has_no_record(logged, run_jobs):
    await run_jobs(EventDrivenScaler(answer, 1), {"id": "j", "input": None})
    assert len(logged) == 1
