"""A handler over a fake engine, and what that engine may answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from worker.engine.client import EngineClient
from worker.handler import Handler, HandlerOptions
from worker.request import Batching, RequestDefaults
from worker.stream.flush_policy import StreamLoad

CHAT = "/v1/chat/completions"
CHAT = "/v1/chat/completions"
DEFAULTS = RequestDefaults(model="tiny", batching=Batching(1, 50, 3.0), max_tokens=16)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakeEngine:
    """Plays vLLM's server: one answer for every request, and a record of the requests."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str, Any]] = []
        self.left = asyncio.Event()
        """A client closed its connection before the answer was whole."""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.asked.append((request.method, request.path_qs, orjson.loads(body) if body else None))
        try:
            return await self.answer(request)
        except asyncio.CancelledError:
            self.left.set()
            raise


class Bench:
    """A handler over a fake engine."""

    def __init__(self, engine: FakeEngine, client: EngineClient, options: HandlerOptions) -> None:
        self.engine = engine
        self.client = client
        self.stream_load = StreamLoad(0.02)
        self.handle = Handler(client, self.stream_load, options).handle

    async def run(self, job_input: Any) -> list[Any]:
        return [output async for output in self.handle({"id": "j", "input": job_input})]


Build = Callable[..., Awaitable[Bench]]


@asynccontextmanager
async def open_benches(directory: Path) -> AsyncIterator[Build]:
    """Build handlers over fake engines, with their socket in `directory`; close them afterwards."""
    made: list[tuple[web.AppRunner, Bench]] = []

    async def build_one(
        answer: Answer, *, timeout_s: float = 30, raw_openai_output: bool = True
    ) -> Bench:
        engine = FakeEngine(answer)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", engine.serve)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.UnixSite(runner, str(directory / "s")).start()
        options = HandlerOptions(DEFAULTS, timeout_s, raw_openai_output)
        made.append((runner, Bench(engine, EngineClient(directory / "s"), options)))
        return made[-1][1]

    yield build_one
    for runner, bench in made:
        assert bench.stream_load.active == 0
        await bench.client.close()
        await runner.cleanup()


def say(*replies: Any, status: int = 200) -> Answer:
    """Answer with JSON."""

    async def answer(request):
        return web.json_response(replies[0], status=status)

    return answer


def stream(*events: bytes, pause_s: float = 0, cut: bool = False, hang: bool = False) -> Answer:
    """Answer with a stream of events; then end, or cut the connection, or hang."""

    async def answer(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
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


TEXTS = ["Grüße ", "🦙 ", "and ", "so ", "on"]
CHUNKS = [chunk(text) for text in TEXTS]
DONE = b"data: [DONE]\n\n"
MESSAGES = [{"role": "user", "content": "hi"}]
ENGINE_ERROR = event_of({"error": {"message": "EngineCore died", "type": "E", "code": 500}})
REPLY = {
    "id": "1",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}


def openai(stream: bool = True, route: str = CHAT, **body) -> dict[str, Any]:
    body = {"model": "tiny", "messages": MESSAGES, "stream": stream, **body}
    return {"openai_route": route, "openai_input": body}


def native(stream: bool = True, **more) -> dict[str, Any]:
    return {"messages": MESSAGES, "stream": stream, **more}


def error_of(output: Any) -> dict[str, Any]:
    """Return the error object of a job's last output, which must be JSON text."""
    assert set(output) == {"error", "raised_at"}
    return json.loads(output["error"])["error"]


def error_event_of(output: str) -> dict[str, Any]:
    """Return the error that a reader of the stream sees, and that the stream ends after it."""
    event, end, rest = output.split("\n\n")
    assert (end, rest) == ("data: [DONE]", "")
    return json.loads(event.removeprefix("data: "))["error"]
