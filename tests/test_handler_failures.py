import asyncio
import logging
from contextlib import aclosing

import orjson
import pytest

from tests.fakes.engine import CHAT, DONE, FakeEngine, chunk, event_of, say, stream
from tests.support.handler import (
    CHUNKS,
    DEFAULTS,
    ENGINE_ERROR,
    REPLY,
    TEXTS,
    Bench,
    error_event_of,
    error_of,
    native,
    open_benches,
    openai,
)
from tests.support.reference_cycles import reference_cycles
from worker.engine.client import EngineClient
from worker.errors import RequestError
from worker.handler import HandlerOptions
from worker.request import Code
from worker.stream.events import split_events


@pytest.fixture
async def build(tmp_path):
    async with open_benches(tmp_path) as build_one:
        yield build_one


async def test_refused_job_leaves_no_reference_cycle(build):
    """Seen in a soak: memory rose by 2 MB a minute until the next full collection."""
    bench = await build(say({}))
    with reference_cycles(RequestError) as left:
        for _ in range(3):
            [output] = await bench.run(native(temprature=1))
            assert error_of(output)["code"] == Code.UNKNOWN_PARAMETER
    assert left == []


# Errors of the input and of the engine


@pytest.mark.parametrize(
    "job_input", [pytest.param(None, id="none"), pytest.param({"x": 1}, id="unknown")]
)
async def test_bad_input_is_refused_without_asking_the_engine(build, job_input):
    bench = await build(say({}))
    [output] = await bench.run(job_input)
    assert error_of(output)["code"] == Code.INVALID_JOB_INPUT
    assert bench.engine.asked == []


@pytest.mark.parametrize("shape", [openai, native])
async def test_error_of_vllm_before_a_stream_fails_the_job(build, shape):
    message = "This model's maximum context length is 8 tokens."
    bench = await build(say({"error": {"message": message, "code": 400}}, status=400))
    outputs = await bench.run(shape())
    error = error_of(outputs[-1])
    assert (error["code"], error["message"]) == (Code.CONTEXT_LENGTH_EXCEEDED, message)
    if shape is openai:
        assert [error_event_of(output) for output in outputs[:-1]] == [error]
    else:
        assert len(outputs) == 1


async def test_error_before_a_stream_is_an_object_if_the_setting_says_so(build):
    answer = say({"error": {"message": "no", "code": 400}}, status=400)
    bench = await build(answer, raw_openai_output=False)
    shown, last = await bench.run(openai())
    assert [message["error"] for message in shown] == [error_of(last)]


async def test_error_of_vllm_for_a_whole_answer_keeps_its_status(build):
    bench = await build(say({"error": {"message": "no such thing"}}, status=404))
    [output] = await bench.run(openai(stream=False))
    assert error_of(output)["status"] == 404


@pytest.mark.parametrize(
    ("route", "event", "own"),
    [
        pytest.param(CHAT, ENGINE_ERROR, {}, id="openai"),
        pytest.param(
            "/v1/messages",
            b"event: error\n"
            + event_of({"type": "error", "error": {"type": "e", "message": "EngineCore died"}}),
            {"type": "api_error"},
            id="anthropic",
        ),
    ],
)
async def test_error_within_an_openai_stream_is_translated_and_fails_the_job(
    build, route, event, own
):
    bench = await build(stream(CHUNKS[0], event, DONE))
    *shown, last = await bench.run(openai(route=route, max_tokens=5))
    error = error_of(last)
    assert error["code"] == Code.ENGINE_DIED
    first, translated, *end = split_events("".join(shown).encode())
    assert (first, end) == (CHUNKS[0], [DONE] if route == CHAT else [])
    assert translated.startswith(event.partition(b"data:")[0])
    assert orjson.loads(translated.partition(b"data: ")[2])["error"] == {**error, **own}


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
    engine = FakeEngine(tmp_path / "absent", say({}))
    client = EngineClient(engine.socket_path)
    bench = Bench(engine, client, HandlerOptions(DEFAULTS, 30))
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
    assert bench.stream_load.active == 1
    await handled.aclose()
    await asyncio.wait_for(bench.engine.left.wait(), 15)
    assert bench.stream_load.active == 0


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
    assert bench.stream_load.active == 10
    all_here.set()
    for outputs in await asyncio.gather(*running):
        assert "".join(outputs).encode() == b"".join([*CHUNKS, DONE])
