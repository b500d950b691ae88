"""The platform's limits: large results and chunks, long and deep inputs."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from tests.e2e.support.deployment import MODEL, Api
from tests.e2e.support.tiny_model import MAX_MODEL_LEN, SPECIAL_TOKENS, TURN_START
from worker.queue.job_runner import MAX_RESULT_BYTES
from worker.request.routes import CHAT, COMPLETIONS
from worker.stream.events import MAX_CHUNK_BYTES

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROMPT_TOKENS = 15 * 128 + 1
"""One more than whole blocks of vLLM's cache, so it computes one token of each further sequence."""

PROMPT = TURN_START * PROMPT_TOKENS
PROMPT_IDS = [SPECIAL_TOKENS.index(TURN_START)] * PROMPT_TOKENS

LARGE: dict[str, Any] = {"model": MODEL, "prompt": PROMPT_IDS, "echo": True, "max_tokens": 1}
"""About 23 kB for each sequence, nearly all of it the repeated prompt."""

BELOW, ABOVE = 800, 900
"""Sequences whose result is just within the limit, and just beyond it."""


def join_events(text: str) -> dict[int, str]:
    """Return the text of each sequence in server-sent events, by its index."""
    texts: dict[int, str] = {}
    for event in text.removesuffix("\n\n").split("\n\n"):
        if event != "data: [DONE]":
            (choice,) = json.loads(event.removeprefix("data: "))["choices"]
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    return texts


def assert_whole(texts: dict[int, str], count: int) -> None:
    assert sorted(texts) == list(range(count))
    assert [index for index, text in texts.items() if not text.startswith(PROMPT)] == []


@pytest.mark.parametrize("shape", ["native", "openai"])
async def test_result_above_the_limit_fails_with_its_size(api: Api, shape: str) -> None:
    job_input: dict[str, Any] = {
        "openai_route": COMPLETIONS,
        "openai_input": {**LARGE, "n": ABOVE},
    }
    if shape == "native":
        sampling = {"n": ABOVE, "max_tokens": 1}
        job_input = {"prompt": PROMPT_IDS, "echo": True, "sampling_params": sampling}
    job = await api.runsync(job_input)
    assert job["status"] == "FAILED", len(json.dumps(job))
    error = json.loads(job["error"])["error"]
    assert (error["code"], error["status"]) == ("result_too_large", 413)
    assert str(MAX_RESULT_BYTES) in error["message"]
    again = await api.runsync({"prompt": "x", "sampling_params": {"max_tokens": 1}})
    assert again["status"] == "COMPLETED"


async def test_result_just_below_the_limit_arrives_whole(api: Api) -> None:
    body = {**LARGE, "n": BELOW}
    job = await api.runsync({"openai_route": COMPLETIONS, "openai_input": body})
    assert job["status"] == "COMPLETED", job
    assert MAX_RESULT_BYTES * 0.9 < len(json.dumps(job["output"])) < MAX_RESULT_BYTES
    choices = job["output"][0]["choices"]
    assert_whole({choice["index"]: choice["text"] for choice in choices}, BELOW)


async def test_large_stream_is_cut_between_events(api: Api) -> None:
    body = {**LARGE, "n": 200, "stream": True}
    batches = {"min_batch_size": 100, "max_batch_size": 100}
    job = await api.runsync({"openai_route": COMPLETIONS, "openai_input": body, **batches})
    chunks = job["output"]
    assert len("".join(chunks)) > 4 * MAX_CHUNK_BYTES
    assert [chunk for chunk in chunks if len(chunk) > MAX_CHUNK_BYTES] == []
    assert [chunk for chunk in chunks if not chunk.endswith("\n\n")] == []
    assert_whole(join_events("".join(chunks)), 200)


async def test_stream_above_the_limit_is_whole_though_its_result_is_not(api: Api) -> None:
    body = {**LARGE, "n": ABOVE, "stream": True}
    job_id = await api.run({"openai_route": COMPLETIONS, "openai_input": body})
    text, ended = "", False
    while not ended:
        poll = await api.call("GET", f"/stream/{job_id}")
        text += "".join(chunk["output"] for chunk in poll["stream"])
        ended = poll["status"] in ("COMPLETED", "FAILED") and not poll["stream"]
        await asyncio.sleep(0.02)
    assert text.endswith("data: [DONE]\n\n")
    assert len(text) > MAX_RESULT_BYTES
    assert_whole(join_events(text), ABOVE)
    job = await api.wait_for(job_id, "FAILED")
    error = json.loads(job["error"])["error"]
    assert (error["code"], error["status"]) == ("result_too_large", 413)
    assert "was delivered" in error["message"]


async def test_client_of_a_stream_above_the_limit_gets_all_of_it(api: Api) -> None:
    body = {**LARGE, "n": ABOVE, "stream": True}
    text = await api.read("POST", "/openai/v1/completions", body)
    # What the endpoint tells of the job follows the end, where no client reads on.
    answer, done, _rest = text.partition("data: [DONE]\n\n")
    assert len(answer) > MAX_RESULT_BYTES
    assert done
    assert_whole(join_events(answer), ABOVE)


@pytest.mark.parametrize(
    "job_input",
    [
        pytest.param({"prompt": "word " * 1_600_000}, id="8 MB of text"),
        pytest.param({"prompt": [5] * 1_000_000}, id="a million tokens"),
        pytest.param({"messages": "word " * 1_600_000}, id="8 MB in a message"),
        pytest.param({"prompt": [5] * (MAX_MODEL_LEN + 1)}, id="one token too many"),
    ],
)
async def test_long_input_is_refused_briefly(api: Api, job_input: dict[str, Any]) -> None:
    started = time.monotonic()
    job = await api.runsync(job_input)
    error = json.loads(job["error"])["error"]
    assert error["code"] == "context_length_exceeded", error
    assert len(job["error"]) < 3000
    assert time.monotonic() - started < 30


async def test_input_that_fills_the_context_is_answered(api: Api) -> None:
    prompt = [5] * (MAX_MODEL_LEN - 1)
    job = await api.runsync({"prompt": prompt, "sampling_params": {"max_tokens": 1}})
    assert job["output"][0]["usage"] == {"input": MAX_MODEL_LEN - 1, "output": 1, "cached": 0}


def nest(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("name", ["prompt", "chat_template_kwargs", "openai_input", "body"])
async def test_deep_input_is_refused_by_name(api: Api, name: str) -> None:
    deep: Any = {"a": nest(200)} if name != "prompt" else nest(200)
    start = {"openai_input": {"openai_route": CHAT}, "body": {"route": "/tokenize"}}
    job = await api.runsync({**start.get(name, {"messages": "x"}), name: deep})
    error = json.loads(job["error"])["error"]
    assert error["code"] == "input_too_deep"
    assert name in error["message"]


async def test_input_as_deep_as_allowed_is_answered(api: Api) -> None:
    kwargs = {"a": nest(90)}
    sampling = {"max_tokens": 1}
    job = await api.runsync(
        {"messages": "x", "chat_template_kwargs": kwargs, "sampling_params": sampling}
    )
    assert job["status"] == "COMPLETED", job
