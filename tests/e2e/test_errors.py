"""Whatever is wrong with a request: one OpenAI error object, and nothing of Python in it."""

from __future__ import annotations

import json
import re

import pytest

from tests.e2e.support.bad_requests import BODIES, NATIVE, SAMPLING
from tests.e2e.support.deployment import Api
from worker.request import ERROR_SPECS
from worker.request.routes import CHAT, COMPLETIONS

pytestmark = pytest.mark.asyncio(loop_scope="session")

PYTHON = re.compile(
    r"Traceback|File \"|\.py\b|site-packages|<class |<object|object at 0x|\w(Error|Exception)\(|"
    r"input_type=|input_value=|errors\.pydantic|\{'\w|\['\w|(?<![\w.])/(tmp|usr|home|root|work|opt)/"
)
"""What only a Python program says, and folders of the machine."""

STREAMING = (CHAT, COMPLETIONS, "/v1/responses", "/v1/messages")

INPUTS = {
    **NATIVE,
    **{
        name: ({"prompt": "x", "sampling_params": values}, code, word)
        for name, (values, code, word) in SAMPLING.items()
    },
}


def check(text: str, code: str, word: str) -> None:
    """Hold an error, as JSON text, to its form and its words."""
    error = json.loads(text)["error"]
    assert error["code"] == code, text
    assert word in error["message"], text
    assert error["code"] in ERROR_SPECS
    assert 400 <= error["status"] < 500, text
    assert isinstance(error["type"], str)
    assert error["param"] is None or isinstance(error["param"], str)
    assert len(error["message"]) < 2500
    assert not PYTHON.search(text), text


async def test_corpus_is_large_enough() -> None:
    assert len(INPUTS) + len(BODIES) >= 90


@pytest.mark.parametrize("name", INPUTS)
async def test_bad_native_input_fails_with_its_error(api: Api, name: str) -> None:
    job_input, code, word = INPUTS[name]
    job = await api.runsync(job_input)
    assert job["status"] == "FAILED", job
    check(job["error"], code, word)


@pytest.mark.parametrize("name", [name for name in INPUTS if isinstance(INPUTS[name][0], dict)])
async def test_bad_native_stream_fails_with_its_error(api: Api, name: str) -> None:
    job = await api.runsync({"stream": True, **INPUTS[name][0]})
    assert job["status"] == "FAILED", job
    # For some of them it is one fault more that they are to stream.
    check(job["error"], json.loads(job["error"])["error"]["code"], "")


@pytest.mark.parametrize("name", BODIES)
async def test_bad_body_fails_with_its_error(api: Api, name: str) -> None:
    route, body, code, word = BODIES[name]
    job = await api.runsync({"openai_route": route, "openai_input": body})
    assert job["status"] == "FAILED", job
    check(job["error"], code, word)


@pytest.mark.parametrize("name", [name for name in BODIES if BODIES[name][0] in STREAMING])
async def test_bad_body_streamed_gives_an_error_event(api: Api, name: str) -> None:
    route, body, code, word = BODIES[name]
    text = await api.read("POST", f"/openai{route}", {**body, "stream": True})
    first = text.split("\n\n")[0]
    data = json.loads(first.partition("data:")[2])
    check(json.dumps(data if "error" in data else {"error": data}), code, word)
    anthropic_or_responses = route in ("/v1/messages", "/v1/responses")
    assert first.startswith("event: error\n") is anthropic_or_responses
    assert ("data: [DONE]" in text) is not anthropic_or_responses


async def test_engine_answers_after_all_of_them(api: Api) -> None:
    three = {"max_tokens": 3, "ignore_eos": True}
    job = await api.runsync({"prompt": "Once", "sampling_params": three})
    assert job["output"][0]["usage"]["output"] == 3
