"""Limits of a port's connections: their number, and the time to send a request and read a response.

aiohttp's server limits only the size of the headers and the time between two requests. An
incomplete request, or a response that the client does not read, would keep its connection forever.
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
"""Time between two checks of all connections of a port."""

BACKLOG = 128
"""Connections that wait to be accepted, as in `listen(2)`."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits for the clients of one port.

    Attributes:
        max_connections: Maximum number of open connections.
        header_timeout_s: Time to send the headers, from the connection or the first byte.
        body_timeout_s: Time to send the body.
        write_timeout_s: Maximum time in which a client reads nothing of a pending response.
    """

    max_connections: int = 1000
    header_timeout_s: float = 20.0
    body_timeout_s: float = 120.0
    write_timeout_s: float = 60.0


class Connections:
    """The open connections of one port.

    Args:
        limits: Limits for the clients.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._open: set[Connection] = set()
        self._idle: dict[Connection, None] = {}
        """Connections without a request, the oldest first."""
        self._paused_s = 0.0
        self._server: asyncio.Server | None = None
        self._checker: asyncio.Task[None] | None = None

    def install(self, app: web.Application) -> None:
        """Register the requests of an application that has not started."""
        app.middlewares.append(_register_request)

    async def listen(self, runner: web.AppRunner, host: str, port: int) -> None:
        """Listen with aiohttp's server. The runner must be set up.

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
        self._checker = asyncio.create_task(self._check_all())

    async def close(self) -> None:
        """Accept no more connections; aiohttp closes the open ones."""
        if self._server is not None:
            self._server.close()
        if self._checker is not None:
            self._checker.cancel()
            await asyncio.wait({self._checker})

    def admit(self, connection: Connection) -> bool:
        """Return whether a connection is accepted; the oldest idle one is closed if necessary."""
        if len(self._open) >= self.limits.max_connections:
            if not self._idle:
                return False
            next(iter(self._idle)).close()
        self._open.add(connection)
        return True

    def discard(self, connection: Connection) -> None:
        """Remove a closed connection."""
        self._open.discard(connection)
        self._idle.pop(connection, None)

    def mark_idle(self, connection: Connection, *, idle: bool) -> None:
        """Record whether a connection waits for a request."""
        self._idle.pop(connection, None)
        if idle and connection in self._open:
            self._idle[connection] = None

    def now(self) -> float:
        """Return the time of a clock that stands still while this process is paused, seconds.

        A client is not too slow because the worker did not read what it sent.
        """
        return time.monotonic() - self._paused_s

    async def _check_all(self) -> None:
        limits = self.limits
        interval_s = min(CHECK_INTERVAL_S, limits.header_timeout_s / 4, limits.write_timeout_s / 4)
        while True:
            due = time.monotonic() + interval_s
            await asyncio.sleep(interval_s)
            self._paused_s += max(0.0, time.monotonic() - due)
            now = self.now()
            for connection in list(self._open):
                connection.check(now)


class Connection(asyncio.Protocol):
    """Forwards a connection's events to aiohttp's protocol and measures the client's time.

    Args:
        group: All connections of the port.
        server: Creates aiohttp's protocol.
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
        """Accept the connection, or refuse it if there are too many."""
        self._transport = transport  # type: ignore[assignment]  # TCP only
        if not self._group.admit(self):
            self._end(
                request_error(
                    Code.ENGINE_OVERLOADED,
                    f"The worker has {self._group.limits.max_connections} open connections.",
                )
            )
            return
        self._head_since = self._group.now()
        self._inner = self._server()
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on; the first bytes after a response start the next request."""
        if self._idle:
            self._idle = False
            self._group.mark_idle(self, idle=False)
            self._head_since = self._group.now()
        if self._inner is not None:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass on the end of the client's data."""
        return None if self._inner is None else self._inner.eof_received()

    def pause_writing(self) -> None:
        """Record that the write buffer is full."""
        self._paused = True
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Record that the client has read the write buffer."""
        self._paused = False
        self._blocked_since = None
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection."""
        self._group.discard(self)
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def request_started(self) -> None:
        """Record that the headers of a request have arrived."""
        self._head_since = None

    def request_ended(self) -> None:
        """Record that a response was written to the buffer."""
        self._idle = True
        self._group.mark_idle(self, idle=True)

    def close(self) -> None:
        """Close the connection without waiting for its write buffer."""
        self._group.discard(self)
        if self._transport is not None:
            self._transport.abort()

    def check(self, now: float) -> None:
        """End the connection if its client takes too long; `now` is the group's time."""
        limits, transport = self._group.limits, self._transport
        if transport is None:
            return
        if self._head_since is not None and now - self._head_since > limits.header_timeout_s:
            self._head_since = None
            self._end(
                request_error(
                    Code.REQUEST_TIMEOUT,
                    f"The headers did not arrive within {limits.header_timeout_s:g} s.",
                )
            )
        is_blocked = self._paused or (
            (self._idle or transport.is_closing()) and transport.get_write_buffer_size() > 0
        )
        if not is_blocked:
            self._blocked_since = None
        elif self._blocked_since is None:
            self._blocked_since = now
        elif now - self._blocked_since > limits.write_timeout_s:
            transport.abort()

    def _end(self, error: RequestError) -> None:
        """Send an error for an incomplete request, and close."""
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
    """Registers the end of a request; aiohttp calls its access logger after each response."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Record the end of a request."""
        connection = _find_connection(request)
        if connection is not None:
            connection.request_ended()


@web.middleware
async def _register_request(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    connection = _find_connection(request)
    if connection is not None:
        connection.request_started()
    return await handler(request)


def _find_connection(request: web.BaseRequest) -> Connection | None:
    transport: Any = request.transport
    if transport is None:
        return None
    with contextlib.suppress(AttributeError):
        protocol = transport.get_protocol()
        return protocol if isinstance(protocol, Connection) else None
    return None
