"""A job over plain HTTP."""

from __future__ import annotations

import orjson
import pytest

from tests.fakes.engine import BODY, CHAT, DONE, EVENT, REPLY, STREAM, code_of, say, stream
from worker.request import Code


async def test_native_job_is_answered(ready):
    ready.engine.answer = say(REPLY)
    body = {"input": {"messages": BODY["messages"]}}
    status, answer = await ready.ask("POST", "//runsync/", json=body)
    assert (status, answer["status"]) == (200, "COMPLETED")
    assert answer["output"][0]["choices"][0]["tokens"] == ["Hi"]


async def test_native_job_streams_events(ready):
    ready.engine.answer = stream(EVENT, DONE)
    body = {"input": {"messages": BODY["messages"], "stream": True}}
    status, text = await ready.ask("POST", "/runsync", json=body)
    first, *_more, end, rest = text.split(b"\n\n")
    assert (status, end + b"\n\n", rest) == (200, DONE, b"")
    assert orjson.loads(first.removeprefix(b"data: "))["choices"][0]["tokens"] == ["Hi"]


async def test_native_stream_that_fails_ends_with_the_error(ready):
    ready.engine.answer = stream(EVENT, cut=True)
    body = {"input": {"messages": BODY["messages"], "stream": True}}
    _status, text = await ready.ask("POST", "/runsync", json=body)
    error = orjson.loads(text.split(b"\n\n")[-3].removeprefix(b"data: "))
    assert code_of(error) == Code.ENGINE_DIED


async def test_native_stream_that_is_refused_keeps_its_status(ready):
    ready.engine.answer = say({"error": {"message": "no", "code": 400}}, status=400)
    body = {"input": {"messages": BODY["messages"], "stream": True}}
    assert (await ready.ask("POST", "/runsync", json=body))[0] == 400


async def test_gateway_input_streams_vllms_own_events(ready):
    ready.engine.answer = stream(EVENT, DONE)
    body = {"input": {"openai_route": CHAT, "openai_input": STREAM}}
    assert await ready.ask("POST", "/runsync", json=body) == (200, EVENT + DONE)


@pytest.mark.parametrize(
    "path", ["/run", "/status/1-a", "/stream/1-a", "/cancel/1-a", "/retry/1-a/", "//purge-queue"]
)
async def test_operation_of_a_queue_is_refused_with_what_there_is(ready, path):
    status, body = await ready.ask("POST", path, json={"input": {"prompt": "x"}})
    assert (status, code_of(body)) == (404, Code.UNKNOWN_ROUTE)
    assert "/runsync" in body["error"]["message"]
