"""HTTP client for vLLM over its Unix socket; one connection pool per engine."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from worker.request.engine_request import Upload

CONNECT_TIMEOUT_S = 5.0
HEALTH_TIMEOUT_S = 5.0

READ_BUFFER_BYTES = 256 * 1024
"""Buffer of one stream while its previous chunk is posted to RunPod. Beyond twice this size the
socket is not read: vLLM waits, and this process does not grow."""

KEEP_ALIVE_S = 600
"""Keep-alive of idle connections on vLLM's side, seconds; on this side it is half as long. vLLM
therefore never closes a connection while a request is written to it."""

STATISTICS = "vllm:"
"""Prefix of vLLM's own metrics; the others are about its HTTP server."""

STOPPED = "the engine was stopped"


class Health(enum.Enum):
    """The result of a health check."""

    OK = "answers, and its engine is alive"
    DEAD = "answers, but its engine has died"
    SILENT = "does not answer"


class EngineClient:
    """Sends requests to the API server behind a Unix socket.

    Args:
        socket_path: The socket that vLLM was given with `--uds`.
    """

    def __init__(self, socket_path: Path) -> None:
        self.active = 0
        """Running requests, without health checks and metrics."""
        self._open: set[aiohttp.ClientResponse] = set()
        path = str(socket_path)
        self._session = _build_session(
            aiohttp.UnixConnector(path, limit=0, keepalive_timeout=KEEP_ALIVE_S / 2)
        )
        self._fresh = _build_session(aiohttp.UnixConnector(path, limit=0, force_close=True))
        """A connection for each request."""

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        upload: Upload | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request; leaving the context before the end of the response aborts it in vLLM.

        Args:
            method: HTTP method.
            path: Route on vLLM's server, e.g. `/v1/chat/completions`.
            body: JSON body, or None for none.
            upload: File for a route that takes a form; the body's members are its other fields.
            headers: The caller's own headers.

        Yields:
            The response, when its headers have arrived.

        Raises:
            aiohttp.ClientError: The server is down or closed the connection.
        """
        sent = dict(headers or {})
        data: bytes | aiohttp.FormData | None = None
        if upload is not None:
            data = build_form(body or {}, upload)
        elif body is not None:
            data = orjson.dumps(body)
            sent["Content-Type"] = "application/json"
        async with self.forward(method, path, data, sent) as response:
            yield response

    @asynccontextmanager
    async def forward(
        self, method: str, path: str, data: Any, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request with an unchanged body.

        Args:
            method: HTTP method.
            path: Route on vLLM's server.
            data: Body as aiohttp takes it: bytes, a form, a stream; None for none.
            headers: Headers of the request, with the body's type.

        Yields:
            The response, when its headers have arrived.

        Raises:
            aiohttp.ClientError: The server is down or closed the connection.
        """
        self.active += 1
        try:
            async with self._send(method, path, data, headers) as response:
                yield response
        finally:
            self.active -= 1

    @asynccontextmanager
    async def connect(
        self, path: str, headers: Mapping[str, str], max_bytes: int
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open a WebSocket; leaving the context closes it.

        It does not count as active: an idle WebSocket makes no progress without being stalled.

        Args:
            path: Route on vLLM's server.
            headers: Headers of the request.
            max_bytes: Largest message from vLLM, bytes.

        Yields:
            The WebSocket, once vLLM has accepted it.

        Raises:
            aiohttp.WSServerHandshakeError: vLLM refused it.
            aiohttp.ClientError: The server is down or closed the connection.
        """
        self._check_open()
        async with self._fresh.ws_connect(
            path, headers=headers, max_msg_size=max_bytes
        ) as websocket:
            yield websocket

    @asynccontextmanager
    async def _send(
        self, method: str, path: str, data: Any = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        async with await self._open_response(method, path, data, headers) as response:
            self._open.add(response)
            try:
                yield response
            finally:
                self._open.discard(response)

    async def _open_response(
        self, method: str, path: str, data: Any, headers: Mapping[str, str] | None
    ) -> aiohttp.ClientResponse:
        """Send a request on a pooled connection, and again on a new one if that is closed.

        After an internal error, vLLM's server closes the connection with the response, possibly
        while the next request is written to it. That request is sent again. A body that can be
        sent only once uses a new connection at once.
        """
        self._check_open()
        if data is None or isinstance(data, bytes):
            try:
                return await self._session.request(method, path, data=data, headers=headers)
            except aiohttp.ClientConnectorError:
                raise
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                self._check_open()
        return await self._fresh.request(method, path, data=data, headers=headers)

    def _check_open(self) -> None:
        if self._session.closed:
            # aiohttp itself raises a RuntimeError, which looks like a bug in this program.
            raise aiohttp.ClientConnectionError(STOPPED)

    async def check_health(self) -> Health:
        """Check the server's health; takes `HEALTH_TIMEOUT_S` at most."""
        try:
            async with (
                asyncio.timeout(HEALTH_TIMEOUT_S),
                self._send("GET", "/health") as response,
            ):
                return Health.OK if response.status == 200 else Health.DEAD
        except (aiohttp.ClientError, TimeoutError, OSError):
            return Health.SILENT

    async def read_statistics(self) -> frozenset[str]:
        """Return the lines of vLLM's own metrics; empty without metrics or without a response."""
        try:
            async with (
                asyncio.timeout(HEALTH_TIMEOUT_S),
                self._send("GET", "/metrics") as response,
            ):
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return frozenset()
        return frozenset(line for line in text.splitlines() if line.startswith(STATISTICS))

    async def close(self) -> None:
        """Close all connections; running requests end with an `aiohttp.ClientError`."""
        for response in self._open:
            # Without this, a reader of the response would wait forever.
            response.content.set_exception(aiohttp.ClientConnectionError(STOPPED))
        await self._session.close()
        await self._fresh.close()


def _build_session(connector: aiohttp.UnixConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        # vLLM ignores the host, but HTTP requires one.
        base_url="http://engine",
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        # With `Connection: close`, vLLM's server would close the connection while it refuses a
        # body that it has not read, and its response would be lost.
        headers={"Accept-Encoding": "identity", "Connection": "keep-alive"},
        read_bufsize=READ_BUFFER_BYTES,
    )


def build_form(fields: Mapping[str, str | list[str]], upload: Upload) -> aiohttp.FormData:
    """Return a multipart form with a file.

    Args:
        fields: The other fields; a list is one field that occurs several times.
        upload: The file.
    """
    form = aiohttp.FormData()
    for name, value in fields.items():
        for text in value if isinstance(value, list) else [value]:
            form.add_field(name, text)
    form.add_field(
        upload.field, upload.content, filename=upload.filename, content_type=upload.content_type
    )
    return form
