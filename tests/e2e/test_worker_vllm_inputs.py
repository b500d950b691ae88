"""Inputs of the shapes with which RunPod's own worker is tested on RunPod, answered here.

As that test does: a job through `/run`, its state polled, an output without an error.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.support.deployment import Api

pytestmark = pytest.mark.asyncio(loop_scope="session")

INPUTS: dict[str, dict[str, Any]] = {
    "prompt alone": {"prompt": "A poem of four lines about the sea."},
    "chat without a model's name": {
        "openai_route": "/v1/chat/completions",
        "openai_input": {
            "messages": [
                {"role": "system", "content": "You answer briefly."},
                {"role": "user", "content": "In one sentence: what is a wave?"},
            ],
            "max_tokens": 200,
            "temperature": 0.1,
        },
    },
}


def has_error(output: Any) -> bool:
    if isinstance(output, list):
        return any(has_error(item) for item in output)
    return isinstance(output, dict) and "error" in output


@pytest.mark.parametrize("name", INPUTS)
async def test_input_is_answered(api: Api, name: str) -> None:
    job_id = await api.run(INPUTS[name])
    job = await api.wait_for(job_id, "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")
    assert job["status"] == "COMPLETED"
    assert not has_error(job["output"])
    assert job["output"][0]["choices"]
