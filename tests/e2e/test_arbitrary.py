"""Whatever a job asks, real vLLM behind the real handler: an answer or an error, never a crash."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase

from tests.e2e.support.arbitrary_inputs import INPUTS
from tests.e2e.support.deployment import Api
from tests.e2e.test_errors import PYTHON
from worker.request import ERROR_SPECS, Code

pytestmark = pytest.mark.asyncio(loop_scope="session")

EXAMPLES = 400
AT_ONCE = 8
BROKEN = {Code.INTERNAL_ERROR, Code.ENGINE_DIED, Code.ENGINE_UNAVAILABLE, Code.ENGINE_TIMEOUT}


def draw_inputs() -> list[Any]:
    """Return inputs that a client can send, the same ones each time."""
    inputs: list[Any] = []

    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(job_input=INPUTS)
    def collect(job_input: Any) -> None:
        try:
            json.dumps(job_input, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, UnicodeEncodeError):
            # No client can send it; what the worker makes of it is a unit test's.
            hypothesis.reject()
        inputs.append(job_input)

    collect()
    return inputs


async def test_arbitrary_input_is_answered(api: Api) -> None:
    inputs = iter(draw_inputs())

    async def send() -> None:
        for job_input in inputs:
            await check_answer(api, job_input)

    async with asyncio.TaskGroup() as senders:
        for _ in range(AT_ONCE):
            senders.create_task(send())


async def check_answer(api: Api, job_input: Any) -> None:
    """Send an input; the answer is an output or an error of the client's."""
    job = await api.call("POST", "/runsync", {"input": job_input})
    if "status" not in job:
        return  # refused by the endpoint
    if job["status"] == "COMPLETED":
        assert job["output"] is not None, job_input
        assert "error" not in job, job_input
        return
    assert job["status"] == "FAILED", (job, job_input)
    error = json.loads(job["error"])["error"]
    assert error["code"] in ERROR_SPECS, job_input
    assert error["code"] not in BROKEN, (job, job_input)
    assert error["status"] < 500, (job, job_input)
    assert not PYTHON.search(error["message"].replace(json.dumps(job_input), "")), error


async def test_engine_answers_after_all_of_them(api: Api) -> None:
    three = {"max_tokens": 3, "ignore_eos": True}
    job = await api.runsync({"prompt": "Once", "sampling_params": three})
    assert job["output"][0]["usage"]["output"] == 3
