"""A fake vLLM: a server on a Unix socket, and what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

CHAT = "/v1/chat/completions"
BODY = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
STREAM = {**BODY, "stream": True}
REPLY = {
    "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1},
}
EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}}]}\n\n'
DONE = b"data: [DONE]\n\n"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakeEngine:
    """Plays vLLM's server.

    Attributes:
        answer: Answers every request.
        requests: All of them, in order.
        bodies: Of these requests, where `reads_bodies`; else `answer` may read a request itself.
        left: A client closed its connection before its answer was complete.
    """

    def __init__(self, socket_path: Path, answer: Answer | None = None) -> None:
        self.socket_path = socket_path
        self.answer = answer
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.reads_bodies = True
        self.left = asyncio.Event()

    @property
    def asked(self) -> list[tuple[str, str, Any]]:
        """Method, path with query, and JSON body of each request."""
        return [
            (request.method, request.path_qs, orjson.loads(body) if body else None)
            for request, body in zip(self.requests, self.bodies, strict=True)
        ]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read() if self.reads_bodies else b""
        self.requests.append(request)
        self.bodies.append(body)
        assert self.answer is not None
        try:
            return await self.answer(request)
        except asyncio.CancelledError:
            self.left.set()
            raise


@asynccontextmanager
async def open_engine(directory: Path, answer: Answer | None = None) -> AsyncIterator[FakeEngine]:
    """Serve on a socket in `directory` until the context ends."""
    engine = FakeEngine(directory / "s", answer)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", engine.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.UnixSite(runner, str(engine.socket_path)).start()
    yield engine
    await runner.cleanup()


def say(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """Answer with JSON."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.json_response(value, status=status, headers=headers)

    return answer


def stream(
    *events: bytes,
    pause_s: float = 0,
    hang: bool = False,
    cut: bool = False,
    kind: str = "text/event-stream",
) -> Answer:
    """Answer with a stream of events; then end, or cut the connection, or hang."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        for event in events:
            await response.write(event)
            await asyncio.sleep(pause_s)
        if hang:
            await asyncio.Event().wait()
        if cut:
            await asyncio.sleep(0.05)
            request.transport.abort()
        return response

    return answer


def event_of(body: Any) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"


def chunk(text: str) -> bytes:
    return event_of({"choices": [{"index": 0, "delta": {"content": text}}]})


def code_of(body: Any) -> str:
    """Return the code of an error object."""
    return str(body["error"]["code"])
