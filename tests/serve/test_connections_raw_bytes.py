"""Bytes that no HTTP library sends: each request is answered."""

from __future__ import annotations

import asyncio
import logging

import orjson
import pytest

from tests.fakes.engine import CHAT, REPLY, say
from worker.request import Code
from worker.serve import Cors

KEY = "sk-worker-key"
BODY = b'{"messages": [{"role": "user", "content": "hi"}]}'


async def send(harness, head: bytes, body: bytes = b"") -> tuple[int, bytes]:
    """Send a request byte by byte as it stands; return status and body of the reply."""
    reader, writer = await asyncio.open_connection("127.0.0.1", harness.port)
    writer.write(head + b"\r\nHost: x\r\nConnection: close\r\n")
    writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
    async with asyncio.timeout(10):
        reply = await reader.read()
    writer.close()
    await writer.wait_closed()
    status, _, rest = reply.partition(b"\r\n")
    return int(status.split()[1]), rest.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("key", [b"\xff", b"sk-worker-key\xff", "sk-wörker".encode(), b"\xf6"])
@pytest.mark.parametrize("header", [b"Authorization: Bearer ", b"Authorization: ", b"x-api-key: "])
async def test_key_of_any_bytes_is_refused_with_401(harness, caplog, header, key):
    await harness.open(api_key=KEY)
    harness.begin()
    status, body = await send(harness, b"GET /v1/models HTTP/1.1\r\n" + header + key)
    assert status == 401
    assert orjson.loads(body)["error"]["code"] == Code.INVALID_API_KEY
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_key_with_bytes_that_are_not_utf8_is_accepted(harness):
    await harness.open(api_key=b"sk-\xff".decode(errors="surrogateescape"))
    harness.begin()
    harness.engine.answer = say({"data": []})
    status, _ = await send(harness, b"GET /v1/models HTTP/1.1\r\nx-api-key: sk-\xff")
    assert status == 200


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"POST %s HTTP/1.1\r\nX-Title: Caf\xe9", id="header"),
        pytest.param(b"POST %s HTTP/1.1\r\nContent-Type: text/\xff", id="type"),
        pytest.param(b"POST %s HTTP/1.1\r\nContent-Type: application/json; charset=\xff", id="set"),
        pytest.param(b"POST %s HTTP/1.1\r\nCookie: \xff", id="cookie"),
        pytest.param(b"POST %s HTTP/1.1\r\nConnection: \xff", id="connection"),
        pytest.param(b"POST %s HTTP/1.1\r\nX-Request-Id: \xff", id="request id"),
    ],
)
async def test_header_of_any_bytes_is_answered(ready, caplog, head):
    ready.engine.answer = say(REPLY)
    status, body = await send(ready, head % CHAT.encode(), BODY)
    assert (status, orjson.loads(body)) == (200, REPLY)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"POST /v1/chat\xff HTTP/1.1", id="path"),
        pytest.param(b"POST /v1/chat%ff HTTP/1.1", id="encoded path"),
        pytest.param(b"GET /v1/models?\xff HTTP/1.1", id="query"),
        pytest.param(b"GET /v1/models?x=%ff%00 HTTP/1.1", id="encoded query"),
        pytest.param(b"POST %s HTTP/1.1\r\nTransfer-Encoding: \xff" % CHAT.encode(), id="encoding"),
        pytest.param(b"POST %s HTTP/1.1\r\nContent-Encoding: \xff" % CHAT.encode(), id="coding"),
        pytest.param(b"POST %s HTTP/1.1\r\nExpect: \xff" % CHAT.encode(), id="expect"),
        pytest.param(b"GET /ping HTTP/1.1\r\nExpect: \xff", id="health"),
        pytest.param(b"POST %s HTTP/1.1\r\nUpgrade: \xff" % CHAT.encode(), id="upgrade"),
        pytest.param(
            b"POST /v1/audio/transcriptions HTTP/1.1\r\n"
            b"Content-Type: multipart/form-data; boundary=\xff",
            id="boundary",
        ),
    ],
)
async def test_request_of_any_bytes_is_no_failure_of_the_worker(ready, caplog, head):
    ready.engine.answer = say(REPLY)
    status, _ = await send(ready, head, BODY)
    assert status < 500
    assert not [record for record in caplog.records if record.name.startswith("worker.")]


@pytest.mark.parametrize("credentials", [False, True])
@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(b"\r\nOrigin: http://\xff", id="origin"),
        pytest.param(b"\r\nOrigin: x\r\nAccess-Control-Request-Method: \xff", id="method"),
        pytest.param(
            b"\r\nOrigin: x\r\nAccess-Control-Request-Method: POST"
            b"\r\nAccess-Control-Request-Headers: \xff, a",
            id="headers",
        ),
    ],
)
async def test_preflight_of_any_bytes_is_answered(harness, caplog, lines, credentials):
    await harness.open(api_key=KEY, cors=Cors(["*"], credentials=credentials))
    status, _ = await send(harness, b"OPTIONS /v1/models HTTP/1.1" + lines)
    assert status in (204, 401)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
