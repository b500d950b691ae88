"""RunPod's own operations with native input."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.e2e.support.deployment import (
    KV_CACHE_USAGE,
    LONG,
    LONG_SEQUENCES,
    LONGER_SEQUENCES,
    MODEL,
    TEXT,
    Api,
    count_running,
    expect_abort,
    read_metric,
)
from worker.engine.client import EngineClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

FIVE = {"max_tokens": 5, "ignore_eos": True}


def join(outputs: list[dict[str, Any]]) -> str:
    return "".join(text for output in outputs for text in output["choices"][0]["tokens"])


@pytest.mark.parametrize(
    "question",
    [{"prompt": "Once"}, {"messages": [{"role": "user", "content": "世界?"}]}],
    ids=["prompt", "messages"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_runsync_answers_in_the_native_shape(
    api: Api, question: dict[str, Any], stream: bool, text_choice: dict[str, Any]
) -> None:
    job = await api.runsync(
        {**question, **text_choice, "stream": stream, "sampling_params": {"max_tokens": 200}}
    )
    assert job["status"] == "COMPLETED", job
    assert join(job["output"]) == TEXT
    choices = [output["choices"][0] for output in job["output"]]
    # On a slow machine, the final usage may come in a chunk of its own.
    reasons = [choice["finish_reason"] for choice in choices if "finish_reason" in choice]
    assert reasons == ["stop"]
    last = job["output"][-1]
    assert last["usage"]["output"] >= len(TEXT)
    assert last["usage"]["input"] > 0


async def test_run_then_status_gives_the_result(api: Api) -> None:
    job_id = await api.run({"prompt": "Once", "sampling_params": FIVE})
    job = await api.wait_for(job_id, "COMPLETED")
    assert job["output"][0]["usage"]["output"] == 5
    assert job["executionTime"] >= 0
    assert job["workerId"] == "worker-1"


async def test_stream_polled_gives_every_token_once(api: Api, text_choice: dict[str, Any]) -> None:
    job_id = await api.run(
        {"prompt": "Once", "stream": True, **text_choice, "sampling_params": {"max_tokens": 200}}
    )
    outputs: list[Any] = []
    while True:
        poll = await api.call("GET", f"/stream/{job_id}")
        outputs += [chunk["output"] for chunk in poll["stream"]]
        if poll["status"] == "COMPLETED" and not poll["stream"]:
            break
    assert join(outputs) == TEXT


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_cancel_aborts_the_request_in_vllm_and_no_other(
    api: Api, engine: EngineClient, stream: bool
) -> None:
    async with expect_abort(engine, LONG_SEQUENCES):
        job_id = await api.run({**LONG, "stream": stream})
        while await count_running(engine) < LONG_SEQUENCES:
            await asyncio.sleep(0.02)
        other = await api.run({"prompt": "Once", "sampling_params": FIVE})
        assert (await api.call("POST", f"/cancel/{job_id}"))["status"] == "CANCELLED"
        assert (await api.wait_for(other, "COMPLETED"))["output"][0]["usage"]["output"] == 5
    assert (await api.call("GET", f"/status/{job_id}"))["status"] == "CANCELLED"


async def test_job_beyond_its_execution_timeout_is_aborted_in_vllm_and_no_other(
    api: Api, engine: EngineClient
) -> None:
    longer = {**LONG["sampling_params"], "n": LONGER_SEQUENCES}
    body = {"input": {**LONG, "sampling_params": longer}, "policy": {"executionTimeout": 5_000}}
    async with expect_abort(engine, LONGER_SEQUENCES):
        job_id = (await api.call("POST", "/run", body))["id"]
        while not await read_metric(engine, KV_CACHE_USAGE):
            await asyncio.sleep(0.02)
        other = await api.run({"prompt": "Once", "sampling_params": FIVE})
        assert (await api.wait_for(other, "COMPLETED"))["output"][0]["usage"]["output"] == 5
        job = await api.wait_for(job_id, "TIMED_OUT", "COMPLETED")
        assert job["status"] == "TIMED_OUT"


async def test_jobs_at_the_same_time_are_all_answered(api: Api) -> None:
    ids = [
        await api.run({"prompt": f"Job {n}", "stream": n % 2 == 0, "sampling_params": {"seed": n}})
        for n in range(24)
    ]
    jobs = [await api.wait_for(job_id, "COMPLETED", "FAILED") for job_id in ids]
    assert {job["status"] for job in jobs} == {"COMPLETED"}


@pytest.mark.parametrize(
    ("job_input", "code", "named"),
    [
        pytest.param({"promt": "x"}, "invalid_job_input", "prompt", id="unknown shape"),
        pytest.param("text", "invalid_job_input", "object", id="no object"),
        pytest.param({}, "invalid_job_input", "empty", id="empty"),
        pytest.param({"sampling_params": {}}, "missing_parameter", "prompt", id="missing prompt"),
        pytest.param(
            {"prompt": "x", "sampling_params": {"max_tokens": "5"}},
            "invalid_parameter",
            "max_tokens",
            id="wrong type",
        ),
        pytest.param(
            {"prompt": "x", "sampling_params": {"temprature": 1}},
            "unknown_parameter",
            "temperature",
            id="misspelt parameter",
        ),
        pytest.param({"prompt": "x", "model": "nope"}, "model_not_found", "nope", id="model"),
        pytest.param(
            {"route": "/metrics", "method": "GET"}, "route_closed", "/metrics", id="closed route"
        ),
    ],
)
async def test_bad_input_fails_with_an_error_object(
    api: Api, job_input: Any, code: str, named: str
) -> None:
    job = await api.runsync(job_input)
    assert job["status"] == "FAILED", job
    error = json.loads(job["error"])["error"]
    assert error["code"] == code
    assert named in error["message"]
    assert "Traceback" not in job["error"]


async def test_generic_route_reaches_any_route_of_vllm(api: Api) -> None:
    job = await api.runsync({"route": "/v1/models", "method": "GET"})
    assert job["output"][0]["data"][0]["id"] == MODEL


async def test_generic_route_tokenizes(api: Api) -> None:
    job = await api.runsync({"route": "/tokenize", "body": {"prompt": "abc"}})
    assert job["output"][0]["count"] == len(job["output"][0]["tokens"]) > 0


async def test_health_counts_workers_and_jobs(api: Api) -> None:
    health = await api.call("GET", "/health")
    assert health["workers"]["ready"] == 1
    assert health["jobs"]["completed"] > 0
