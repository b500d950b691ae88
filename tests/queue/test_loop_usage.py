"""The usage record of a job in the log of a queue worker."""

import json
from typing import Any

import pytest

from tests.fakes.runpod_platform import JobRunner
from worker.queue import sdk
from worker.queue.loop import EventDrivenScaler
from worker.usage import LOG_PREFIX, UsageMeter

ANSWER = {"model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


RUNNER: Any = JobRunner()


async def answer(_job):
    yield ANSWER


@pytest.fixture
def logged(monkeypatch):
    lines = []
    monkeypatch.setattr(sdk.runpod_log, "info", lambda text, *_: lines.append(text))
    return lines


async def test_job_has_a_usage_record(logged):
    meter = UsageMeter(1, "served")
    scaler = EventDrivenScaler(answer, 1, meter)
    await scaler._answer(RUNNER, {"id": "j", "input": {"prompt": "secret words"}})
    assert len(logged) == 2
    record = json.loads(logged[1].removeprefix(LOG_PREFIX))
    assert (record["id"], record["model"]) == ("j", "m")
    assert (record["tokens"]["input"], record["tokens"]["output"]) == (3, 2)
    assert record["first_token_s"] <= record["total_s"]
    assert "secret" not in logged[1]


async def test_failed_job_has_a_record_with_the_model_that_it_asked_for(logged):
    async def fail(_job):
        raise ValueError("not for the log")
        yield

    scaler = EventDrivenScaler(fail, 1, UsageMeter(1, "served"))
    await scaler._answer(RUNNER, {"id": "j", "input": {"model": "adapter"}})
    record = json.loads(logged[-1].removeprefix(LOG_PREFIX))
    assert record["model"] == "adapter"
    assert record["tokens"]["input"] is None


async def test_jobs_share_the_gpu_until_each_ends(logged):
    """A job whose end is not recorded would take a share of the GPU's time forever."""
    now = [0.0]
    meter = UsageMeter(1, "served", clock=lambda: now[0])
    scaler = EventDrivenScaler(answer, 2, meter)
    for job_id in ("a", "b"):
        await scaler._answer(RUNNER, {"id": job_id, "input": None})
    alone = meter.start()
    now[0] += 10
    alone.end()
    assert alone.gpu_s == 10


async def test_job_without_a_meter_has_no_record(logged):
    await EventDrivenScaler(answer, 1)._answer(RUNNER, {"id": "j", "input": None})
    assert len(logged) == 1
