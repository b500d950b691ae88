"""Fields of a multipart form that vLLM does not know are refused or reported, as in JSON."""

from __future__ import annotations

import logging

import aiohttp
import pytest

from tests.fakes.engine import code_of, say, stream
from worker.handler import HandlerOptions
from worker.request import Batching, Code, RequestDefaults
from worker.request.parameters import IGNORED_HEADER

PATH = "/v1/audio/transcriptions"


def form(**fields: str) -> aiohttp.FormData:
    """Return a form with a file and, after it, text fields; `_list` at the end means brackets."""
    data = aiohttp.FormData({"model": "tiny"})
    data.add_field("file", b"\r\n--\x00\xff" * 50, filename="a.wav", content_type="audio/wav")
    for name, value in fields.items():
        data.add_field(name.replace("_list", "[]"), value)
    return data


async def test_unknown_form_field_is_named_in_header_and_log(ready, caplog):
    caplog.set_level(logging.WARNING, "worker.handler")
    ready.engine.answer = say({"text": "hello"})
    data = form(zzz="secret value", language="en", timestamp_granularities_list="word")
    async with ready.request("POST", PATH, data=data) as response:
        assert (response.status, await response.json()) == (200, {"text": "hello"})
        assert response.headers[IGNORED_HEADER] == "zzz"
    assert "ignored request parameters: zzz" in caplog.text
    assert "secret value" not in caplog.text


async def test_form_with_known_fields_has_no_header(ready):
    ready.engine.answer = say({"text": "hello"})
    async with ready.request("POST", PATH, data=form(language="en")) as response:
        assert IGNORED_HEADER not in response.headers


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        pytest.param("langauge", "language", id="misspelt"),
        pytest.param("timestamp_granularities", "timestamp_granularities[]", id="no-brackets"),
        pytest.param("repeat_penalty", "repetition_penalty", id="other-server"),
    ],
)
async def test_form_field_with_a_likely_meaning_is_refused_with_the_right_name(ready, name, meant):
    ready.engine.answer = say({"text": "hello"})
    status, error = await ready.ask("POST", PATH, data=form(**{name: "x"}))
    assert (status, code_of(error)) == (400, Code.UNKNOWN_PARAMETER)
    assert error["error"]["param"] == name
    assert meant in error["error"]["message"]
    assert not ready.engine.requests


async def test_unknown_form_field_is_refused_if_set(harness):
    await harness.open()
    defaults = RequestDefaults("tiny", Batching(1, 50, 3.0), max_tokens=16, reject_unknown=True)
    harness.server.start(harness.client, harness.stream_load, HandlerOptions(defaults, 30))
    status, error = await harness.ask("POST", PATH, data=form(zzz="1"))
    assert (status, code_of(error)) == (400, Code.UNKNOWN_PARAMETER)


async def test_form_that_cannot_be_parsed_is_left_to_vllm(ready):
    ready.engine.answer = say({"error": {"message": "no form", "code": 400}}, status=400)
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    status, error = await ready.ask("POST", PATH, data=b"--y\r\nzzz", headers=headers)
    assert (status, error["error"]["message"]) == (400, "no form")
    assert ready.engine.bodies == [b"--y\r\nzzz"]


async def test_error_within_the_stream_of_a_form_is_translated(ready):
    event = b'data: {"error": {"message": "EngineCore died", "type": "E", "code": 500}}\n\n'
    ready.engine.answer = stream(event)
    _status, text = await ready.ask("POST", PATH, data=form(stream="true"))
    assert Code.ENGINE_DIED.encode() in text
