"""Answers of the local endpoint: JSON bodies, errors, and reading a body within a limit."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from worker_tools.dev.limits import MIB


class ApiError(Exception):
    """A request that the endpoint refuses.

    Attributes:
        status: HTTP status of the answer.
        message: What is wrong and what to send instead.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def reply_json(body: Any, status: int = 200) -> web.Response:
    """Return `body` as a JSON response."""
    return web.Response(
        body=orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS),
        status=status,
        content_type="application/json",
    )


async def read_body(request: web.Request, limit_bytes: int) -> bytes:
    """Read a request's body.

    Args:
        request: The request.
        limit_bytes: Largest body accepted, in bytes.

    Raises:
        ApiError: 400, the body is larger.
    """
    length = request.content_length
    if length is None or length <= limit_bytes:
        body = bytearray()
        async for data in request.content.iter_any():
            body += data
            if len(body) > limit_bytes:
                break
        else:
            return bytes(body)
    raise ApiError(400, f"exceeded max body size of {limit_bytes / MIB:g}MiB")


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a body that has to be a JSON object.

    Raises:
        ApiError: 400, it is not.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the body is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise ApiError(400, 'the body has to be a JSON object, such as {"input": {...}}')
    return value
