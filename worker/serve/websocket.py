"""WebSockets: forwards messages between the client and vLLM in both directions."""

from __future__ import annotations

import asyncio
import contextlib
import json

import aiohttp
from aiohttp import WSCloseCode, WSMsgType, web

from worker.engine.client import EngineClient
from worker.errors import RequestError
from worker.request import Code, request_error
from worker.serve.exchange import Exchange
from worker.serve.proxy import forwarded_headers

ROUTES = ("/v1/realtime",)
"""vLLM's WebSocket routes; a test compares them with its source."""

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Largest message, as in vLLM's own server."""

PING_INTERVAL_S = 30.0
"""Time between two pings; a client that does not answer one is disconnected."""

CLOSE_S = 5.0
"""Time limit of the closing handshake."""

GOING_AWAY = frozenset({Code.WORKER_STOPPING, Code.ENGINE_DIED})
"""Errors after which another worker may answer."""

NOT_SENT = frozenset({WSCloseCode.ABNORMAL_CLOSURE, 1005, 1015})
"""Reserved close codes, which must not be sent (RFC 6455, 7.4.1)."""

AnySocket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


def is_websocket(request: web.Request) -> bool:
    """Return whether a request opens a WebSocket."""
    return request.headers.get("Upgrade", "").strip().lower() == "websocket"


def find_websocket_route(path: str) -> str | None:
    """Return vLLM's WebSocket route for a path, with or without `/openai` or `/v1`."""
    plain = "/" + path.removeprefix("/openai/").strip("/")
    return next((route for route in ROUTES if plain in (route, route.removeprefix("/v1"))), None)


def refuse_plain_request(path: str) -> None:
    """Refuse a plain request to the route of a WebSocket.

    Raises:
        RequestError: The path is such a route.
    """
    if route := find_websocket_route(path):
        message = f"{route} is a WebSocket: connect to it with ws:// or wss://."
        raise request_error(Code.METHOD_NOT_ALLOWED, message, "route", status=426)


async def proxy_websocket(exchange: Exchange, client: EngineClient) -> web.StreamResponse:
    """Connect a client with vLLM until either of them closes; return the client's socket.

    Args:
        exchange: The request; gets the client's socket as its response.
        client: The connections to vLLM.

    Raises:
        RequestError: There is no such WebSocket, or vLLM refuses it.
        aiohttp.ClientError: vLLM has ended.
    """
    request = exchange.request
    route = find_websocket_route(request.path)
    if route is None:
        known = ", ".join(ROUTES)
        raise request_error(
            Code.UNKNOWN_ROUTE, f"{request.path[:80]} is not a WebSocket; {known} is.", "route"
        )
    query = f"?{request.query_string}" if request.query_string else ""
    headers = {
        name: value
        for name, value in forwarded_headers(request.headers).items()
        if not name.lower().startswith("sec-websocket-")
    }
    try:
        async with client.connect(route + query, headers, MAX_MESSAGE_BYTES) as engine:
            # Compression hardly shrinks audio, and its buffers cost memory for each connection.
            socket = web.WebSocketResponse(
                timeout=CLOSE_S,
                heartbeat=PING_INTERVAL_S,
                compress=False,
                max_msg_size=MAX_MESSAGE_BYTES,
            )
            await exchange.start(socket)
            await _connect(socket, engine)
            return socket
    except aiohttp.WSServerHandshakeError as error:
        raise request_error(
            Code.ROUTE_NOT_SERVED,
            f"vLLM refused {route} for this model with status {error.status}. It needs a model for "
            "realtime speech, such as Voxtral Realtime.",
            "route",
        ) from None


async def fail_websocket(socket: web.WebSocketResponse, error: RequestError) -> None:
    """End a WebSocket with an event in vLLM's format and a close code."""
    if socket.closed:
        return
    event = {"type": "error", "error": error.message, "code": error.code}
    away = error.code in GOING_AWAY
    status = WSCloseCode.GOING_AWAY if away else WSCloseCode.INTERNAL_ERROR
    await socket.send_str(json.dumps(event, ensure_ascii=False))
    await socket.close(code=status, message=error.code.encode())


async def _connect(client: web.WebSocketResponse, engine: aiohttp.ClientWebSocketResponse) -> None:
    """Forward messages until one side closes, then close the other with the same code."""
    tasks = [
        asyncio.create_task(_forward(client, engine)),
        asyncio.create_task(_forward(engine, client)),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if engine.close_code == WSCloseCode.ABNORMAL_CLOSURE and not client.closed:
            raise aiohttp.ClientConnectionError("vLLM has ended")
        await client.close(code=_status(engine.close_code))
    finally:
        # Also if the client closes its connection meanwhile.
        await engine.close(code=_status(client.close_code))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _forward(source: AnySocket, target: AnySocket) -> None:
    # The other direction reports a client that accepts no more messages.
    with contextlib.suppress(ConnectionError):
        async for message in source:
            if message.type is WSMsgType.TEXT:
                await target.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await target.send_bytes(message.data)


def _status(code: int | None) -> int:
    """Return the close code for one side after the other has closed with `code`."""
    return WSCloseCode.OK if code is None or code in NOT_SENT else code
