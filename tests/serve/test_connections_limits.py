"""Clients that send too much, too slowly or not at all, and clients that do not read."""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import orjson
import pytest
from aiohttp import web

from tests.fakes.engine import CHAT, REPLY, STREAM
from worker.request.engine_request import MAX_BODY_BYTES
from worker.serve.connections import ConnectionLimits

SHORT = ConnectionLimits(
    max_connections=4, header_timeout_s=0.4, body_timeout_s=0.8, write_timeout_s=0.8
)
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
ROUTES = [CHAT, "/v1/audio/transcriptions", "/v1/embeddings", "/runsync", "/nowhere"]


@pytest.fixture
async def limited(harness):
    harness.engine.answer = answer
    await harness.open(limits=SHORT, max_concurrency=1)
    harness.begin()
    return harness


async def answer(request: web.Request) -> web.StreamResponse:
    return web.json_response(REPLY)


Dial = Callable[..., Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@pytest.fixture
async def dial(limited) -> AsyncIterator[Dial]:
    """Open connections that a client of our own does not close by itself."""
    writers: list[asyncio.StreamWriter] = []

    async def connect(data: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", limited.port)
        writers.append(writer)
        writer.write(data)
        await writer.drain()
        return reader, writer

    yield connect
    for writer in writers:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def ask(body: bytes) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def read_end(reader: asyncio.StreamReader, within_s: float = 10) -> bytes:
    """Return what arrives until the server closes."""
    async with asyncio.timeout(within_s):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=x"])
@pytest.mark.parametrize("route", ROUTES)
async def test_body_above_the_limit_is_refused_on_every_route(harness, route, content_type):
    harness.engine.answer = answer
    await harness.open()
    harness.begin()

    async def grow() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 1_000_000 + 3):
            yield b"x" * 1_000_000

    for data in (io.BytesIO(b"x" * (MAX_BODY_BYTES + 1)), grow()):
        try:
            status, body = await harness.ask(
                "POST", route, data=data, headers={"Content-Type": content_type}
            )
        except aiohttp.ClientOSError:
            continue  # The server closed before the whole body was sent.
        assert (status, body["error"]["code"]) == (413, "invalid_request")
    assert not harness.engine.requests


async def test_form_within_the_limit_reaches_vllm_unchanged(limited):
    form = aiohttp.FormData()
    form.add_field("file", b"x" * 100_000, filename="a.wav")

    status, _body = await limited.ask("POST", "/v1/audio/transcriptions", data=form)

    assert status == 200
    assert b"x" * 100_000 in limited.engine.bodies[0]
    assert limited.engine.requests[0].content_type == "multipart/form-data"


async def test_slow_body_is_refused_in_time_and_uses_no_slot(limited, dial):
    slow = [await dial(HEAD + b"Content-Length: 1000\r\n\r\n{") for _ in range(3)]

    status, _body = await limited.ask("POST", CHAT, json={"messages": "Hi"})

    assert status == 200
    for reader, writer in slow:
        writer.write(b" ")
        assert b"408" in await asyncio.wait_for(reader.readline(), 20)


@pytest.mark.parametrize("start", [b"", b"POST /v1", HEAD])
async def test_half_sent_head_is_closed_in_time(limited, dial, start):
    reader, _writer = await dial(start)

    reply = await read_end(reader)

    assert reply.startswith(b"HTTP/1.1 408 ")
    assert orjson.loads(reply.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"


async def test_half_sent_head_after_an_answer_is_closed_in_time(limited, dial):
    reader, writer = await dial(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 200 " in await reader.readuntil(b"}")
    await asyncio.sleep(2 * SHORT.header_timeout_s)
    writer.write(b"GET /p")

    assert b"HTTP/1.1 408 " in await read_end(reader)


async def test_client_is_not_blamed_for_a_pause_of_the_worker(limited, dial):
    reader, writer = await dial(b"GET /ping HTTP/1.1\r\n")
    await asyncio.sleep(SHORT.header_timeout_s / 8)
    time.sleep(2 * SHORT.header_timeout_s)
    await asyncio.sleep(SHORT.header_timeout_s / 8)
    writer.write(b"Host: x\r\n\r\n")

    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")


async def test_idle_connection_gives_way_to_a_new_one(limited, dial):
    idle = [await dial(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(4)]
    for reader, _writer in idle:
        await reader.readuntil(b"}")

    assert (await limited.ask("GET", "/ping"))[0] == 200
    assert await read_end(idle[0][0]) == b""


async def test_connection_above_the_limit_is_refused(limited, dial):
    busy = [await dial(HEAD) for _ in range(4)]

    reader, _writer = await dial()
    reply = await read_end(reader)

    assert reply.startswith(b"HTTP/1.1 503 ")
    assert orjson.loads(reply.partition(b"\r\n\r\n")[2])["error"]["code"] == "engine_overloaded"
    for reader, _writer in busy:
        await read_end(reader)
    assert (await limited.ask("GET", "/ping"))[0] == 200


async def test_client_that_reads_nothing_is_cut_off_and_vllm_stops(limited, dial):
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(b"data: " + b"x" * 100_000 + b"\n\n")

    limited.engine.answer = stream
    await dial(ask(orjson.dumps(STREAM)))

    async with asyncio.timeout(20):
        await limited.engine.left.wait()
    limited.engine.answer = answer
    assert (await limited.ask("POST", CHAT, json={"messages": "Hi"}))[0] == 200


async def test_client_that_reads_slowly_keeps_its_stream(limited, dial):
    size = 3_000_000

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(size // 100_000):
            await response.write(b"data: " + b"x" * 99_992 + b"\n\n")
        return response

    limited.engine.answer = stream
    reader, _writer = await dial(ask(orjson.dumps(STREAM)))
    taken = 0
    while taken < size:
        taken += len(await reader.read(size // 20))
        await asyncio.sleep(0.1)


async def test_reply_above_the_limit_is_refused_before_it_is_parsed(limited):
    async def grow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while True:
            await response.write(b" " * 1_000_000)

    limited.engine.answer = grow
    job = {"prompt": "x", "sampling_params": {"max_tokens": 5}}

    status, body = await limited.ask("POST", "/runsync", json={"input": job})

    assert (status, body["error"]["code"]) == (413, "result_too_large")
    async with asyncio.timeout(10):
        await limited.engine.left.wait()


async def test_event_above_the_limit_ends_the_stream(limited):
    async def grow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(b"x" * 1_000_000)

    limited.engine.answer = grow

    _status, body = await limited.ask("POST", CHAT, json=STREAM)

    assert b"result_too_large" in body


@pytest.mark.parametrize("route", [CHAT, "/v1/completions", "/runsync"])
async def test_grammar_above_the_limit_is_refused(limited, route):
    form = {"structured_outputs": {"choice": ["x" * 9] * 10_000}}
    body = {"input": {"prompt": "x", **form}} if route == "/runsync" else form

    status, answer = await limited.ask("POST", route, json=body)

    assert (status, answer["error"]["code"]) == (400, "grammar_too_large")
    assert not limited.engine.requests
