"""Whatever a job asks, real vLLM behind the real handler: an answer or an error, never a crash."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck

from tests.e2e.support.arbitrary_inputs import INPUTS
from tests.e2e.support.deployment import Api
from tests.e2e.test_errors import PYTHON
from worker.request import ERROR_SPECS, Code

pytestmark = pytest.mark.asyncio(loop_scope="session")

EXAMPLES = 400
BROKEN = {Code.INTERNAL_ERROR, Code.ENGINE_DIED, Code.ENGINE_UNAVAILABLE, Code.ENGINE_TIMEOUT}


@hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@hypothesis.given(job_input=INPUTS)
async def test_arbitrary_input_is_answered(api: Api, job_input: Any) -> None:
    body = {"input": job_input}
    try:
        text = json.dumps(body, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (ValueError, UnicodeEncodeError):
        # No client can send it; what the worker makes of it is a unit test's.
        hypothesis.reject()
    job = await api.call("POST", "/runsync", body)
    if "status" not in job:
        hypothesis.event("refused by the endpoint")
        return
    if job["status"] == "COMPLETED":
        hypothesis.event("answered")
        assert job["output"] is not None
        assert "error" not in job
        return
    assert job["status"] == "FAILED", job
    error = json.loads(job["error"])["error"]
    hypothesis.event(error["code"])
    assert error["code"] in ERROR_SPECS
    assert error["code"] not in BROKEN, job
    assert error["status"] < 500, job
    assert not PYTHON.search(error["message"].replace(json.dumps(job_input), "")), error


async def test_engine_answers_after_all_of_them(api: Api) -> None:
    three = {"max_tokens": 3, "ignore_eos": True}
    job = await api.runsync({"prompt": "Once", "sampling_params": three})
    assert job["output"][0]["usage"]["output"] == 3
