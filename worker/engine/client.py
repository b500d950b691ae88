"""HTTP to vLLM over its Unix socket: one connection pool for the life of the engine."""

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
"""What may arrive of one stream while the previous piece is on its way to RunPod; beyond twice
this, the socket is not read, and vLLM waits rather than this process grows."""

KEEP_ALIVE_S = 600
"""Seconds that an idle connection stays open, on vLLM's side; on ours half of it, so that vLLM is
never the one to close a connection just as a request is written to it."""

STATISTICS = "vllm:"
"""How each of vLLM's own metrics begins; the others are about its server."""

STOPPED = "the engine was stopped"


class Health(enum.Enum):
    """What `/health` says."""

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
        """Requests under way, those that only look at the server not counted."""
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
        """Open one request; leaving the context before the end of the answer aborts it in vLLM.

        Args:
            method: HTTP method.
            path: Route on vLLM's server, e.g. `/v1/chat/completions`.
            body: JSON body, or None for none.
            upload: File for a route that takes a form; the body's members are its other fields.
            headers: The caller's own headers.

        Yields:
            The response, when its headers have arrived.

        Raises:
            aiohttp.ClientError: The server is not there, or went away.
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
        """Open one request whose body is sent as it is.

        Args:
            method: HTTP method.
            path: Route on vLLM's server.
            data: Body as aiohttp takes it: bytes, a form, a stream; None for none.
            headers: Headers of the request, with the body's type.

        Yields:
            The response, when its headers have arrived.

        Raises:
            aiohttp.ClientError: The server is not there, or went away.
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

        It does not count as active: while nobody speaks, it makes no progress, and nothing hangs.

        Args:
            path: Route on vLLM's server.
            headers: Headers of the request.
            max_bytes: Largest message from vLLM, bytes.

        Yields:
            The WebSocket, once vLLM has accepted it.

        Raises:
            aiohttp.WSServerHandshakeError: vLLM refuses it.
            aiohttp.ClientError: The server is not there, or went away.
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
        """Send a request on a connection that waits, or on a new one if that turns out closed.

        After a failure of its own, vLLM's server closes the connection with the answer, which may
        be just as the next request is written to it. That one is innocent and goes again; a body
        that can be sent only once goes on a new connection at once.
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
            # aiohttp's own answer is a RuntimeError, which looks like a mistake in this program.
            raise aiohttp.ClientConnectionError(STOPPED)

    async def check_health(self) -> Health:
        """Ask the server how it is; takes `HEALTH_TIMEOUT_S` at most."""
        try:
            async with (
                asyncio.timeout(HEALTH_TIMEOUT_S),
                self._send("GET", "/health") as response,
            ):
                return Health.OK if response.status == 200 else Health.DEAD
        except (aiohttp.ClientError, TimeoutError, OSError):
            return Health.SILENT

    async def read_statistics(self) -> frozenset[str]:
        """Return the lines of vLLM's own metrics; none where it keeps none or does not answer."""
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
        """Close every connection; requests under way end with an `aiohttp.ClientError`."""
        for response in self._open:
            # By itself aiohttp would leave whoever reads it waiting for ever.
            response.content.set_exception(aiohttp.ClientConnectionError(STOPPED))
        await self._session.close()
        await self._fresh.close()


def _build_session(connector: aiohttp.UnixConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        # vLLM never looks at the host, but HTTP wants one.
        base_url="http://engine",
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        # Told that a connection is to be closed, vLLM's server would close it with its answer to
        # a body that it has not read, and the answer would be lost.
        headers={"Accept-Encoding": "identity", "Connection": "keep-alive"},
        read_bufsize=READ_BUFFER_BYTES,
    )


def build_form(fields: Mapping[str, str | list[str]], upload: Upload) -> aiohttp.FormData:
    """Return a form with a file in it.

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
