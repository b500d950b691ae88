"""One HTTP request and its response: error responses and the check of the API key."""

from __future__ import annotations

import hmac

import aiohttp
import orjson
from aiohttp import web

from worker.errors import RequestError
from worker.request import Code, error_body, error_events, request_error

RETRY_AFTER_S = 5
"""`Retry-After` of errors after which another attempt may succeed."""


class Exchange:
    """A client's request and the response to it.

    Attributes:
        request: The client's request.
        body: The body of the request, decompressed; empty until it was received.
        path: Route whose error format the response has.
        response: The response as soon as its status is sent; None before.
    """

    def __init__(self, request: web.Request) -> None:
        self.request = request
        self.body = b""
        self.path = request.path
        self.response: web.StreamResponse | None = None

    async def start(self, response: web.StreamResponse) -> None:
        """Send the status and the headers of the response."""
        self.response = response
        await response.prepare(self.request)


def error_response(error: RequestError, path: str) -> web.Response:
    """Return an error with its real status, in the form of the API at `path`."""
    headers: dict[str, str] = {}
    if error.extra.get("retryable"):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if methods := error.extra.get("allowed_methods"):
        headers["Allow"] = ", ".join(methods)
    return web.Response(
        body=orjson.dumps(error_body(error, path)),
        status=error.status,
        content_type="application/json",
        headers=headers,
    )


async def fail_stream(response: web.StreamResponse, error: RequestError, path: str) -> None:
    """End a stream that has started: with an error event, or without events by closing it.

    Args:
        response: The started response.
        error: Why it ends.
        path: Route, which determines the format of the event.
    """
    if response.content_type == "text/event-stream":
        await response.write(error_events(error, path))
        await response.write_eof()
        return
    # A regular end would make the body look complete.
    response.force_close()
    raise ConnectionResetError(error.message)


async def handle_expect(request: web.Request) -> None:
    """Answer `Expect: 100-continue`; ignore other expectations.

    aiohttp's own handler repeats an unknown expectation in its response and fails if it is not
    UTF-8.
    """
    expected = request.headers.get("Expect", "").lower()
    if expected == "100-continue" and request.version >= aiohttp.HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


def check_key(request: web.Request, key: str | None) -> None:
    """Refuse a request without the key.

    Raises:
        RequestError: The key is missing or wrong, status 401.
    """
    if key is None:
        return
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    sent = bearer.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
    # compare_digest accepts only ASCII strings, so compare bytes. Headers and environment may hold
    # bytes that are not UTF-8; both are decoded with `surrogateescape`.
    expected = key.encode(errors="surrogateescape")
    if not hmac.compare_digest(sent.encode(errors="surrogateescape"), expected):
        raise request_error(
            Code.INVALID_API_KEY,
            "The API key is missing or wrong: send `Authorization: Bearer <key>` or `x-api-key`.",
        )
