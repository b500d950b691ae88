"""A handler over a fake engine, and what that engine may answer."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.fakes.engine import CHAT, Answer, FakeEngine, chunk, event_of, open_engine
from worker.engine.client import EngineClient
from worker.handler import Handler, HandlerOptions
from worker.request import Batching, RequestDefaults
from worker.stream.flush_policy import StreamLoad

DEFAULTS = RequestDefaults(model="tiny", batching=Batching(1, 50, 3.0), max_tokens=16)


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
    benches: list[Bench] = []
    async with AsyncExitStack() as engines:

        async def build_one(
            answer: Answer, *, timeout_s: float = 30, raw_openai_output: bool = True
        ) -> Bench:
            engine = await engines.enter_async_context(open_engine(directory, answer))
            options = HandlerOptions(DEFAULTS, timeout_s, raw_openai_output)
            benches.append(Bench(engine, EngineClient(engine.socket_path), options))
            return benches[-1]

        yield build_one
        for bench in benches:
            assert bench.stream_load.active == 0
            await bench.client.close()


TEXTS = ["Grüße ", "🦙 ", "and ", "so ", "on"]
CHUNKS = [chunk(text) for text in TEXTS]
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
