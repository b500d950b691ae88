"""Bodies as clients send them: compressed, said to be, or with a byte order mark."""

from __future__ import annotations

import codecs
import gzip
import logging
import resource
import zlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from aiohttp import web

from tests.fakes.engine import CHAT, REPLY
from worker.request.engine_request import MAX_BODY_BYTES

CHAT_BODY = orjson.dumps({"messages": [{"role": "user", "content": "hi"}]})
FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nx\r\n--b--\r\n'
FORM_TYPE = "multipart/form-data; boundary=b"
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "identity": bytes,
}


@pytest.fixture
def received(ready) -> list[tuple[Any, bytes]]:
    """Headers and body of each request that reached the engine."""
    requests: list[tuple[Any, bytes]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        requests.append((request.headers, await request.read()))
        return web.json_response(REPLY)

    ready.engine.answer = answer
    return requests


async def post(ready, path: str, body: bytes, **headers: str) -> tuple[int, Any]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return await ready.ask(
        "POST", path, data=body, headers={"Content-Type": "application/json", **names}
    )


@pytest.mark.parametrize("coding", [*COMPRESS, "GZIP", ""])
@pytest.mark.parametrize(
    ("path", "body", "media_type"),
    [(CHAT, CHAT_BODY, "application/json"), ("/v1/audio/transcriptions", FORM, FORM_TYPE)],
)
async def test_compressed_body_reaches_vllm_decompressed(
    ready, received, coding, path, body, media_type
):
    sent = COMPRESS.get(coding.lower(), bytes)(body)

    status, _ = await post(ready, path, sent, Content_Type=media_type, Content_Encoding=coding)

    assert status == 200
    [(headers, arrived)] = received
    assert "Content-Encoding" not in headers
    if path == CHAT:
        assert orjson.loads(arrived)["messages"] == orjson.loads(body)["messages"]
    else:
        assert arrived == body


async def test_coding_of_no_body_is_ignored(ready, received):
    headers = {"Content-Encoding": "gzip"}

    status, _ = await ready.ask("GET", "/v1/models", headers=headers)

    assert status == 200


async def test_compressed_runsync_is_answered(ready, received):
    body = gzip.compress(orjson.dumps({"input": {"prompt": "x"}}))

    status, reply = await post(ready, "/runsync", body, Content_Encoding="gzip")

    assert (status, reply["status"]) == (200, "COMPLETED")


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "snappy", "\xff"])
async def test_unsupported_coding_is_refused_with_those_that_are(ready, received, caplog, coding):
    status, reply = await post(ready, CHAT, b"xx", Content_Encoding=coding)

    assert (status, reply["error"]["code"]) == (415, "invalid_request")
    assert "gzip" in reply["error"]["message"]
    assert received == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        pytest.param("gzip", b"\x1f\x8bnonsense", id="no gzip"),
        pytest.param("gzip", CHAT_BODY, id="not compressed"),
        pytest.param("gzip", gzip.compress(CHAT_BODY * 99)[:40], id="cut off"),
        pytest.param("deflate", b"\x00\x01\x02\x03", id="no deflate"),
    ],
)
async def test_body_that_cannot_be_decompressed_is_refused(ready, received, caplog, coding, body):
    status, reply = await post(ready, CHAT, body, Content_Encoding=coding)

    assert (status, reply["error"]["code"]) == (400, "invalid_request")
    assert received == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_compressed_body_above_the_limit_is_refused_early(ready, received):
    compressor = zlib.compressobj(wbits=31)
    bomb = b"".join(compressor.compress(bytes(10**6)) for _ in range(1000)) + compressor.flush()
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    status, reply = await post(ready, CHAT, bomb, Content_Encoding="gzip")

    assert (status, reply["error"]["code"]) == (413, "invalid_request")
    assert received == []
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) * 1024
    assert grown < 4 * MAX_BODY_BYTES


async def test_body_with_a_byte_order_mark_is_read(ready, received):
    status, _ = await post(ready, CHAT, codecs.BOM_UTF8 + CHAT_BODY)

    assert status == 200
    assert orjson.loads(received[0][1])["messages"] == orjson.loads(CHAT_BODY)["messages"]
