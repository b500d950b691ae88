"""Ignored parameters are named in a response header and once in the log."""

from __future__ import annotations

import logging

import orjson
import pytest

from tests.fakes.engine import BODY, CHAT, DONE, EVENT, REPLY, STREAM, say, stream
from worker.request.parameters import IGNORED_HEADER, NameLog, ignored_header, shown_names

UNKNOWN = {"mirostat": 2, "zzz": "secret value"}


async def header_of(harness, path, body):
    async with harness.request("POST", path, json=body) as response:
        await response.read()
        assert response.status == 200
        return response.headers.get(IGNORED_HEADER)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_openai_answer_names_ignored_parameters(ready, streamed):
    ready.engine.answer = stream(EVENT, DONE) if streamed else say(REPLY)
    body = STREAM if streamed else BODY

    assert await header_of(ready, CHAT, {**body, **UNKNOWN}) == "mirostat, zzz"


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_native_answer_names_ignored_parameters(ready, streamed):
    ready.engine.answer = stream(EVENT, DONE) if streamed else say(REPLY)
    job_input = {"messages": BODY["messages"], "stream": streamed, **UNKNOWN}

    assert await header_of(ready, "/runsync", {"input": job_input}) == "mirostat, zzz"


@pytest.mark.parametrize("path", [CHAT, "/runsync"])
async def test_answer_without_ignored_parameters_has_no_header(ready, path):
    ready.engine.answer = say(REPLY)
    body = BODY if path == CHAT else {"input": {"messages": BODY["messages"]}}

    assert await header_of(ready, path, body) is None


async def test_native_answer_has_a_warning_about_ignored_parameters(ready):
    ready.engine.answer = say(REPLY)
    body = {"input": {"messages": BODY["messages"], **UNKNOWN}}

    _status, answer = await ready.ask("POST", "/runsync", json=body)

    assert "mirostat, zzz" in answer["output"][0]["warnings"][0]


async def test_native_stream_has_the_warning_once(ready):
    ready.engine.answer = stream(EVENT, EVENT, DONE)
    body = {"input": {"messages": BODY["messages"], "stream": True, **UNKNOWN}}

    _status, text = await ready.ask("POST", "/runsync", json=body)

    chunks = [line.removeprefix(b"data: ") for line in text.split(b"\n\n")]
    outputs = [orjson.loads(chunk) for chunk in chunks if chunk.startswith(b"{")]
    assert sum("mirostat" in str(output.get("warnings")) for output in outputs) == 1


async def test_log_names_each_ignored_parameter_once_and_no_value(ready, caplog):
    ready.engine.answer = say(REPLY)
    with caplog.at_level(logging.WARNING, "worker"):
        for body in ({**BODY, **UNKNOWN}, {**BODY, **UNKNOWN}, {**BODY, **UNKNOWN, "yyy": 1}):
            await ready.ask("POST", CHAT, json=body)

    lines = [record.getMessage() for record in caplog.records if "ignored" in record.getMessage()]
    assert [line.partition(";")[0].partition(": ")[2] for line in lines] == ["mirostat, zzz", "yyy"]
    assert "secret" not in caplog.text


def test_name_log_remembers_a_bounded_number_of_bounded_names():
    names = NameLog(limit=100)

    fresh = [name for i in range(1000) for name in names.add([f"{i:04}" + "x" * 10_000])]

    assert len(fresh) == 100
    assert max(map(len, fresh)) <= 64


def test_ignored_header_holds_visible_ascii_only():
    header = ignored_header(["päram", "a b", "line\r\nSet-Cookie: x=1", "a[0]"])[IGNORED_HEADER]

    assert header.isascii()
    assert header.isprintable()
    assert header.count(",") == 3
    assert "Set-Cookie: x" not in header


def test_shown_lists_some_names_and_counts_the_rest():
    assert shown_names([str(i) for i in range(100)])[-1] == "84 more"
