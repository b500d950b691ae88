"""Limits of a port's connections: how many, and how long a client may take to send and to read.

aiohttp's server bounds the size of a head and the time between two requests, and nothing else: half
a request, or an answer that nobody reads, would keep its connection for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from worker.errors import RequestError
from worker.request import Code, request_error

CHECK_INTERVAL_S = 1.0
"""Between two looks at all connections of a port."""

BACKLOG = 128
"""Connections that the system accepts for a server that has not yet taken them."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a client may take.

    Attributes:
        max_connections: Open connections of one port.
        header_timeout_s: For the head of a request: from the connection, or from its first byte.
        body_timeout_s: For the body of a request.
        write_timeout_s: How long a client may read nothing of what waits for it.
    """

    max_connections: int = 1000
    header_timeout_s: float = 20.0
    body_timeout_s: float = 120.0
    write_timeout_s: float = 60.0


class Connections:
    """The open connections of one port.

    Args:
        limits: What a client may take.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._open: set[Connection] = set()
        self._idle: dict[Connection, None] = {}
        """Those that wait for another request, longest first."""
        self._server: asyncio.Server | None = None
        self._watch: asyncio.Task[None] | None = None

    def install(self, app: web.Application) -> None:
        """Let a server's requests be noticed; for an application that has not started."""
        app.middlewares.append(_note_request)

    async def listen(self, runner: web.AppRunner, host: str, port: int) -> None:
        """Listen with aiohttp's server, whose runner is set up.

        Raises:
            OSError: The port is taken or not allowed.
        """
        server = runner.server
        if server is None:
            raise RuntimeError("the runner is not set up")
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self, server), host, port, reuse_address=True, backlog=BACKLOG
        )
        self._watch = asyncio.create_task(self._check_all())

    async def close(self) -> None:
        """Accept no more connections; those that are open are aiohttp's to close."""
        if self._server is not None:
            self._server.close()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait({self._watch})

    def admit(self, connection: Connection) -> bool:
        """Return whether there is room for one more; an idle one gives way."""
        if len(self._open) >= self.limits.max_connections:
            if not self._idle:
                return False
            next(iter(self._idle)).close()
        self._open.add(connection)
        return True

    def discard(self, connection: Connection) -> None:
        """Forget one that is closed."""
        self._open.discard(connection)
        self._idle.pop(connection, None)

    def mark_idle(self, connection: Connection, *, idle: bool) -> None:
        """Note whether one waits for another request."""
        self._idle.pop(connection, None)
        if idle and connection in self._open:
            self._idle[connection] = None

    async def _check_all(self) -> None:
        limits = self.limits
        interval_s = min(CHECK_INTERVAL_S, limits.header_timeout_s / 4, limits.write_timeout_s / 4)
        while True:
            await asyncio.sleep(interval_s)
            now = time.monotonic()
            for connection in list(self._open):
                connection.check(now)


class Connection(asyncio.Protocol):
    """Passes a connection's events on to aiohttp, and knows how long its client takes.

    Args:
        group: All connections of the port.
        server: Makes aiohttp's part of a connection.
    """

    def __init__(self, group: Connections, server: web.Server) -> None:
        self._group = group
        self._server = server
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._idle = False
        self._paused = False
        self._head_since: float | None = None
        self._blocked_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it where there are too many."""
        self._transport = transport  # type: ignore[assignment]  # TCP only
        if not self._group.admit(self):
            self._end(
                request_error(
                    Code.ENGINE_OVERLOADED,
                    f"The worker has {self._group.limits.max_connections} open connections.",
                )
            )
            return
        self._head_since = time.monotonic()
        self._inner = self._server()
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on; the first ones after an answer begin the next request."""
        if self._idle:
            self._idle = False
            self._group.mark_idle(self, idle=False)
            self._head_since = time.monotonic()
        if self._inner is not None:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass on that the client sends no more."""
        return None if self._inner is None else self._inner.eof_received()

    def pause_writing(self) -> None:
        """Note that the client reads too slowly."""
        self._paused = True
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Note that it has read what waited."""
        self._paused = False
        self._blocked_since = None
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._group.discard(self)
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def request_begun(self) -> None:
        """Note that the head of a request is there."""
        self._head_since = None

    def request_ended(self) -> None:
        """Note that an answer is written, as far as the client takes it."""
        self._idle = True
        self._group.mark_idle(self, idle=True)

    def close(self) -> None:
        """Close the connection and give its place away."""
        self._group.discard(self)
        if self._transport is not None:
            self._transport.abort()

    def check(self, now: float) -> None:
        """End the connection if its client takes too long; `now` is the monotonic time."""
        limits, transport = self._group.limits, self._transport
        if transport is None:
            return
        if self._head_since is not None and now - self._head_since > limits.header_timeout_s:
            self._head_since = None
            self._end(
                request_error(
                    Code.REQUEST_TIMEOUT,
                    f"The head of the request did not arrive within {limits.header_timeout_s:g} s.",
                )
            )
        waits = self._paused or (
            (self._idle or transport.is_closing()) and transport.get_write_buffer_size() > 0
        )
        if not waits:
            self._blocked_since = None
        elif self._blocked_since is None:
            self._blocked_since = now
        elif now - self._blocked_since > limits.write_timeout_s:
            transport.abort()

    def _end(self, error: RequestError) -> None:
        """Answer what is no whole request, and close."""
        if self._transport is None or self._transport.is_closing():
            return
        body = orjson.dumps(error.body())
        head = (
            f"HTTP/1.1 {error.status} {http.HTTPStatus(error.status).phrase}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        self._transport.write(head.encode() + body)
        self._transport.close()


class AccessLogger(AbstractAccessLogger):
    """Stands in for aiohttp's access log, which is called when an answer is written."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Note the end of a request."""
        connection = _find_connection(request)
        if connection is not None:
            connection.request_ended()


@web.middleware
async def _note_request(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    connection = _find_connection(request)
    if connection is not None:
        connection.request_begun()
    return await handler(request)


def _find_connection(request: web.BaseRequest) -> Connection | None:
    transport: Any = request.transport
    if transport is None:
        return None
    with contextlib.suppress(AttributeError):
        protocol = transport.get_protocol()
        return protocol if isinstance(protocol, Connection) else None
    return None


async def receive_body(request: web.Request, timeout_s: float, max_bytes: int) -> None:
    """Wait for the whole body of a request, of any type; afterwards `request.read()` has it.

    Raises:
        RequestError: It is too large, or takes too long.
    """
    try:
        if (request.content_length or 0) > max_bytes:
            raise web.HTTPRequestEntityTooLarge(max_bytes, request.content_length or 0)
        async with asyncio.timeout(timeout_s):
            await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise request_error(
            Code.INVALID_REQUEST,
            f"The body is above {max_bytes} bytes, the limit of RunPod's load balancer.",
            status=413,
        ) from None
    except TimeoutError:
        raise request_error(
            Code.REQUEST_TIMEOUT,
            f"The body of the request did not arrive within {timeout_s:g} s. Send it faster, or "
            "raise HTTP_BODY_TIMEOUT_S.",
        ) from None
