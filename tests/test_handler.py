import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import orjson
import pytest
from aiohttp import web

from worker.engine.client import EngineClient
from worker.handler import Handler, HandlerOptions
from worker.request import Batching, Code, RequestDefaults
from worker.stream.pacing import Pacing

CHAT = "/v1/chat/completions"
DEFAULTS = RequestDefaults(model="tiny", batching=Batching(1, 50, 3.0), max_tokens=16)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakeEngine:
    """Plays vLLM's server: one answer for every request, and what it was asked."""

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
        self.pacing = Pacing(0.02)
        self.handle = Handler(client, self.pacing, options).handle

    async def run(self, job_input: Any) -> list[Any]:
        return [output async for output in self.handle({"id": "j", "input": job_input})]


Build = Callable[..., Awaitable[Bench]]


@pytest.fixture
async def build(tmp_path) -> AsyncIterator[Build]:
    made: list[tuple[web.AppRunner, Bench]] = []

    async def build_one(
        answer: Answer, *, timeout_s: float = 30, raw_openai_output: bool = True
    ) -> Bench:
        engine = FakeEngine(answer)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", engine.serve)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.UnixSite(runner, str(tmp_path / "s")).start()
        options = HandlerOptions(
            DEFAULTS,
            timeout_s,
            raw_openai_output,
        )
        made.append((runner, Bench(engine, EngineClient(tmp_path / "s"), options)))
        return made[-1][1]

    yield build_one
    for runner, bench in made:
        assert bench.pacing.active == 0
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
    assert set(output) == {"error"}
    return json.loads(output["error"])["error"]


def error_event_of(output: str) -> dict[str, Any]:
    """Return the error that a reader of the stream sees, and that the stream ends after it."""
    event, end, rest = output.split("\n\n")
    assert (end, rest) == ("data: [DONE]", "")
    return json.loads(event.removeprefix("data: "))["error"]


# Answers


async def test_openai_stream_passes_on_the_events_as_text(build):
    bench = await build(stream(*CHUNKS, DONE, pause_s=0.002))
    outputs = await bench.run(openai())
    assert "".join(outputs).encode() == b"".join([*CHUNKS, DONE])
    assert outputs[0].encode() == CHUNKS[0]
    assert all(output.endswith("\n\n") for output in outputs)


async def test_openai_stream_as_objects_if_set(build):
    bench = await build(stream(*CHUNKS, DONE, pause_s=0.002), raw_openai_output=False)
    outputs = await bench.run(openai())
    assert all(isinstance(output, list) and output for output in outputs)
    flat = [message for output in outputs for message in output]
    assert [message["choices"][0]["delta"]["content"] for message in flat] == TEXTS


async def test_openai_reply_is_the_engines(build):
    bench = await build(say(REPLY))
    assert await bench.run(openai(stream=False)) == [REPLY]
    [(method, path, body)] = bench.engine.asked
    assert (method, path, body["messages"]) == ("POST", CHAT, MESSAGES)
    assert "stream_interval" not in body


async def test_native_stream_gives_new_texts(build):
    bench = await build(stream(*CHUNKS, DONE, pause_s=0.002))
    outputs = await bench.run(native())
    texts = [text for output in outputs for text in output["choices"][0]["tokens"]]
    assert "".join(texts) == "".join(TEXTS)


async def test_native_reply(build):
    bench = await build(say(REPLY))
    assert await bench.run(native(stream=False)) == [
        {
            "choices": [{"tokens": ["Hi"], "finish_reason": "stop"}],
            "usage": {"input": 3, "output": 1},
        }
    ]


@pytest.mark.parametrize(
    ("content_type", "body", "output"),
    [
        pytest.param("text/plain", "vllm:x 1 ü".encode(), "vllm:x 1 ü", id="text"),
        pytest.param(
            "audio/wav", b"\x00\xff", {"content_type": "audio/wav", "base64": "AP8="}, id="binary"
        ),
        pytest.param("application/json", b"[1,2]", [1, 2], id="json-list"),
        pytest.param("text/plain", b"\xff", "\ufffd", id="text-that-is-not-utf-8"),
    ],
)
async def test_reply_of_another_kind(build, content_type, body, output):
    async def answer(request):
        return web.Response(body=body, content_type=content_type)

    bench = await build(answer)
    assert await bench.run({"route": "/v1/models"}) == [output]


# What the engine is asked


@pytest.mark.parametrize(
    ("streams", "own", "interval"),
    [
        pytest.param(0, {}, 1, id="idle"),
        pytest.param(40, {}, 4, id="under-load"),
        pytest.param(40, {"stream_interval": 7}, 7, id="the-clients-own"),
    ],
)
@pytest.mark.parametrize("shape", [openai, native])
async def test_stream_interval_is_ours_unless_the_client_chose(
    build, streams, own, interval, shape
):
    if own and shape is native:
        own = {"sampling_params": own}
    bench = await build(stream(*CHUNKS, DONE))
    bench.pacing.active += streams
    await bench.run(shape(**own))
    bench.pacing.active -= streams
    assert bench.engine.asked[0][2]["stream_interval"] == interval


async def test_stream_interval_is_not_sent_to_other_routes(build):
    bench = await build(stream(b"event: message_stop\ndata: {}\n\n"))
    await bench.run(openai(route="/v1/messages", max_tokens=5))
    assert "stream_interval" not in bench.engine.asked[0][2]


# Errors


@pytest.mark.parametrize(
    "job_input", [pytest.param(None, id="none"), pytest.param({"x": 1}, id="unknown")]
)
async def test_bad_input_is_refused_without_asking_the_engine(build, job_input):
    bench = await build(say({}))
    [output] = await bench.run(job_input)
    assert error_of(output)["code"] == Code.INVALID_JOB_INPUT
    assert bench.engine.asked == []


@pytest.mark.parametrize("shape", [openai, native])
async def test_error_instead_of_a_stream(build, shape):
    message = "This model's maximum context length is 8 tokens."
    bench = await build(say({"error": {"message": message, "code": 400}}, status=400))
    outputs = await bench.run(shape())
    error = error_of(outputs[-1])
    assert (error["code"], error["message"]) == (Code.CONTEXT_LENGTH_EXCEEDED, message)
    if shape is openai:
        assert [error_event_of(output) for output in outputs[:-1]] == [error]
    else:
        assert len(outputs) == 1


async def test_error_as_objects_if_set(build):
    answer = say({"error": {"message": "no", "code": 400}}, status=400)
    bench = await build(answer, raw_openai_output=False)
    shown, last = await bench.run(openai())
    assert [message["error"] for message in shown] == [error_of(last)]


async def test_error_instead_of_a_reply(build):
    bench = await build(say({"error": {"message": "no such thing"}}, status=404))
    [output] = await bench.run(openai(stream=False))
    assert error_of(output)["status"] == 404


@pytest.mark.parametrize(
    ("route", "event"),
    [
        pytest.param(CHAT, ENGINE_ERROR, id="openai"),
        pytest.param(
            "/v1/messages",
            b"event: error\n"
            + event_of({"type": "error", "error": {"type": "e", "message": "EngineCore died"}}),
            id="anthropic",
        ),
    ],
)
async def test_error_within_an_openai_stream_is_passed_on_and_fails_the_job(build, route, event):
    bench = await build(stream(CHUNKS[0], event, DONE))
    *shown, last = await bench.run(openai(route=route, max_tokens=5))
    assert "".join(shown).encode() == CHUNKS[0] + event + DONE
    assert error_of(last)["code"] == Code.ENGINE_DIED


async def test_text_that_looks_like_an_error_is_none(build):
    looks = chunk('data: {"error": "x"}\n\nevent: error\n')
    bench = await build(stream(looks, DONE))
    assert "".join(await bench.run(openai())).encode() == looks + DONE


async def test_error_within_a_native_stream_fails_the_job(build):
    bench = await build(stream(CHUNKS[0], ENGINE_ERROR, DONE, pause_s=0.05))
    first, last = await bench.run(native())
    assert first["choices"][0]["tokens"] == [TEXTS[0]]
    assert error_of(last)["code"] == Code.ENGINE_DIED


async def test_engine_gone_within_a_stream_delivers_what_came(build):
    bench = await build(stream(*CHUNKS[:3], cut=True))
    *shown, event, last = await bench.run(openai())
    assert "".join(shown).encode() == b"".join(CHUNKS[:3])
    assert error_event_of(event) == error_of(last)
    assert error_of(last)["code"] == Code.ENGINE_DIED


async def test_engine_gone_within_a_native_stream_delivers_what_came(build):
    bench = await build(stream(*CHUNKS[:3], cut=True))
    *shown, last = await bench.run(native())
    assert "".join(t for output in shown for t in output["choices"][0]["tokens"]) == "".join(
        TEXTS[:3]
    )
    assert error_of(last)["code"] == Code.ENGINE_DIED


@pytest.mark.parametrize("shape", [openai, native])
@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "reply"])
async def test_engine_that_was_stopped_is_an_engine_error(build, shape, streamed):
    bench = await build(say(REPLY))
    await bench.client.close()
    outputs = await bench.run(shape(stream=streamed))
    assert error_of(outputs[-1])["code"] == Code.ENGINE_DIED


async def test_engine_stopped_within_a_stream_ends_the_job_at_once(build):
    bench = await build(stream(*CHUNKS, hang=True))
    running = asyncio.create_task(bench.run(openai()))
    await asyncio.sleep(0.1)
    await bench.client.close()
    outputs = await asyncio.wait_for(running, 15)
    assert error_of(outputs[-1])["code"] == Code.ENGINE_DIED


async def test_absent_engine_is_an_engine_error(tmp_path):
    client = EngineClient(tmp_path / "absent")
    options = HandlerOptions(DEFAULTS, 30)
    bench = Bench(FakeEngine(say({})), client, options)
    outputs = await bench.run(openai())
    assert error_of(outputs[-1])["code"] == Code.ENGINE_DIED
    await client.close()


# Time and cancellation


@pytest.mark.parametrize("shape", [openai, native])
async def test_job_that_runs_too_long_is_stopped_and_says_so(build, shape):
    bench = await build(stream(*CHUNKS, hang=True), timeout_s=0.15)
    outputs = await bench.run(shape())
    error = error_of(outputs[-1])
    assert error["code"] == Code.ENGINE_TIMEOUT
    assert "0.15 s" in error["message"]
    assert len(outputs) > 1
    await asyncio.wait_for(bench.engine.left.wait(), 15)


async def test_reply_that_takes_too_long_is_stopped(build):
    async def answer(request):
        await asyncio.Event().wait()

    bench = await build(answer, timeout_s=0.05)
    [output] = await bench.run(openai(stream=False))
    assert error_of(output)["code"] == Code.ENGINE_TIMEOUT
    await asyncio.wait_for(bench.engine.left.wait(), 15)


async def test_time_that_ends_within_a_post_does_not_cancel_the_post(build):
    bench = await build(stream(*CHUNKS, hang=True), timeout_s=0.1)
    outputs = []
    async with aclosing(bench.handle({"id": "j", "input": openai()})) as handled:
        async for output in handled:
            await asyncio.sleep(0.15 if not outputs else 0)  # The post.
            outputs.append(output)
    assert outputs[0].encode().startswith(CHUNKS[0])
    assert error_of(outputs[-1])["code"] == Code.ENGINE_TIMEOUT


@pytest.mark.parametrize("shape", [openai, native])
async def test_closing_the_generator_closes_the_request(build, shape):
    bench = await build(stream(*CHUNKS, hang=True))
    handled = bench.handle({"id": "j", "input": shape()})
    await anext(handled)
    assert bench.pacing.active == 1
    await handled.aclose()
    await asyncio.wait_for(bench.engine.left.wait(), 15)
    assert bench.pacing.active == 0


async def test_cancelling_the_job_closes_the_request_and_reports_nothing(build):
    bench = await build(stream(CHUNKS[0], hang=True))
    outputs = []

    async def consume():
        async with aclosing(bench.handle({"id": "j", "input": openai()})) as handled:
            async for output in handled:
                outputs.append(output)

    running = asyncio.create_task(consume())
    await asyncio.sleep(0.1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.wait_for(bench.engine.left.wait(), 15)
    assert [output.encode() for output in outputs] == [CHUNKS[0]]


# Mistakes of our own


async def test_mistake_in_the_handler_is_an_error_without_details(build, monkeypatch, caplog):
    def fail_to_parse(*_arguments):
        raise KeyError("a detail")

    monkeypatch.setattr("worker.handler.parse_job", fail_to_parse)
    bench = await build(say({}))
    with caplog.at_level(logging.ERROR):
        outputs = await bench.run(openai())
    assert error_of(outputs[-1])["code"] == Code.INTERNAL_ERROR
    assert "a detail" not in str(outputs)
    assert "a detail" in caplog.text


async def test_stream_of_many_jobs_at_once_counts_each_once(build):
    all_here = asyncio.Event()

    async def answer(request):
        await all_here.wait()
        return await stream(*CHUNKS, DONE)(request)

    bench = await build(answer)
    running = [asyncio.create_task(bench.run(openai())) for _ in range(10)]
    async with asyncio.timeout(15):
        while len(bench.engine.asked) < 10:
            await asyncio.sleep(0.01)
    assert bench.pacing.active == 10
    all_here.set()
    for outputs in await asyncio.gather(*running):
        assert "".join(outputs).encode() == b"".join([*CHUNKS, DONE])
