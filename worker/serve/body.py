"""The body of a request: received in time, decompressed, and read as JSON."""

from __future__ import annotations

import asyncio
import codecs
import zlib
from typing import Any

import orjson
from aiohttp import web

from worker.errors import RequestError
from worker.request import Code, request_error

WINDOW_BITS = {"gzip": 31, "deflate": zlib.MAX_WBITS}
"""Content codings of requests -> what zlib calls them."""


async def receive_body(request: web.Request, timeout_s: float, max_bytes: int) -> bytes:
    """Receive the whole body of a request, of any type, and decompress it.

    Args:
        request: The request; its server does not decompress.
        timeout_s: Time limit, seconds.
        max_bytes: Maximum size, also when decompressed.

    Raises:
        RequestError: The body is too large, does not arrive in time, or cannot be decompressed.
    """
    coding = request.headers.get("Content-Encoding", "").strip().lower()
    if coding not in ("", "identity", *WINDOW_BITS):
        known = " or ".join(WINDOW_BITS)
        raise invalid_body(f"Send the body uncompressed, or with Content-Encoding {known}.", 415)
    if (request.content_length or 0) > max_bytes:
        raise _too_large(max_bytes)
    try:
        async with asyncio.timeout(timeout_s):
            body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(max_bytes) from None
    except TimeoutError:
        raise request_error(
            Code.REQUEST_TIMEOUT,
            f"The body of the request did not arrive within {timeout_s:g} s. Send it faster, or "
            "raise HTTP_BODY_TIMEOUT_S.",
        ) from None
    return decompress(body, coding, max_bytes) if body and coding in WINDOW_BITS else body


def decompress(body: bytes, coding: str, max_bytes: int) -> bytes:
    """Return a decompressed body.

    Args:
        body: One stream of compressed data.
        coding: A key of `WINDOW_BITS`.
        max_bytes: Maximum size of the result; no more is decompressed.

    Raises:
        RequestError: The result is too large, or `body` is not compressed in that way.
    """
    try:
        decompressor = zlib.decompressobj(WINDOW_BITS[coding])
        whole = decompressor.decompress(body, max_bytes + 1)
    except zlib.error:
        raise invalid_body(f"The body is not {coding}, its Content-Encoding.") from None
    if len(whole) > max_bytes:
        raise _too_large(max_bytes)
    if not decompressor.eof or decompressor.unused_data:
        raise invalid_body(f"The body is not complete, or has more than one part, as {coding}.")
    return whole


def parse_json(body: bytes) -> dict[str, Any] | None:
    """Return a body as a JSON object; None for an empty one.

    Raises:
        RequestError: The body is not a JSON object.
    """
    if not body:
        return None
    try:
        value = orjson.loads(body.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError as error:
        raise invalid_body(f"The body is not JSON: {error.msg} at character {error.pos}.") from None
    if not isinstance(value, dict):
        raise invalid_body("The body is JSON, but not an object.")
    return value


def invalid_body(message: str, status: int | None = None) -> RequestError:
    """Return the error for a body that cannot be read."""
    return request_error(Code.INVALID_REQUEST, message, status=status)


def _too_large(max_bytes: int) -> RequestError:
    return invalid_body(
        f"The body is above {max_bytes} bytes, the limit of RunPod's load balancer.", 413
    )
