import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from worker.stream.events import EventBuffer
from worker.stream.flush_policy import FlushTimer, GrowingBatch, StreamLoad
from worker.stream.relay import relay

EAGER = (1, 1, 1.0)
PATIENT = (1000, 1000, 1.0)
LONG_S = 60.0
"""A wait that no test could sit out: what happens sooner happens for another reason."""

Script = Callable[[web.StreamResponse], Awaitable[None]]
Open = Callable[[Script], Awaitable[aiohttp.StreamReader]]


def flush_of(batch: tuple[int, int, float], max_delay_s: float = LONG_S) -> FlushTimer:
    return FlushTimer(StreamLoad(max_delay_s), GrowingBatch(*batch))


def event(number: int) -> bytes:
    return f"data: ü{number}\n\n".encode()


def joined(start: int, end: int) -> bytes:
    return b"".join(event(number) for number in range(start, end))


@pytest.fixture
async def open_stream(tmp_path) -> AsyncIterator[Open]:
    """Serve one stream, written by a script, on a Unix socket, and open it."""
    scripts: list[Script] = []
    responses: list[aiohttp.ClientResponse] = []

    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await scripts[-1](response)
        return response

    app = web.Application()
    app.router.add_get("/", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "s")).start()
    connector = aiohttp.UnixConnector(str(tmp_path / "s"))
    async with aiohttp.ClientSession("http://fake", connector=connector) as session:

        async def open_one(script: Script) -> aiohttp.StreamReader:
            scripts.append(script)
            responses.append(await session.get("/"))
            return responses[-1].content

        yield open_one
        for response in responses:
            response.close()
    await runner.cleanup()


async def collect(content: aiohttp.StreamReader, flush: FlushTimer) -> list[bytes]:
    return [chunk async for chunk in relay(content, flush)]


async def test_relay_yields_first_event_at_once_and_the_end_within_a_wait(open_stream):
    go_on = asyncio.Event()

    async def script(response):
        await response.write(event(0))
        await go_on.wait()
        await response.write(joined(1, 4))

    chunks = relay(await open_stream(script), flush_of((1, 1000, 1000.0)))
    assert await anext(chunks) == event(0)
    go_on.set()
    # The batch is not full and the time not over: only the end of the stream brings these.
    assert b"".join([chunk async for chunk in chunks]) == joined(1, 4)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
async def test_relay_never_splits_an_event_however_the_stream_is_cut(open_stream, size):
    data = joined(0, 30)

    async def script(response):
        for start in range(0, len(data), size):
            await response.write(data[start : start + size])
            await asyncio.sleep(0)

    chunks = await collect(await open_stream(script), flush_of(EAGER))
    assert b"".join(chunks) == data
    assert all(chunk.decode().endswith("\n\n") for chunk in chunks)


async def test_relay_gathers_what_arrives_while_the_consumer_is_busy(open_stream):
    written = asyncio.Event()
    busy = asyncio.Event()

    async def script(response):
        await response.write(event(0))
        await busy.wait()
        for number in range(1, 20):
            await response.write(event(number))
            await asyncio.sleep(0.001)
        written.set()
        await asyncio.Event().wait()

    content = await open_stream(script)
    chunks = relay(content, flush_of(EAGER))
    assert await anext(chunks) == event(0)
    busy.set()
    await written.wait()
    await asyncio.sleep(0.02)
    assert await anext(chunks) == joined(1, 20)
    await chunks.aclose()


async def test_relay_waits_for_a_full_batch(open_stream):
    async def script(response):
        for number in range(10):
            await response.write(event(number))
            await asyncio.sleep(0.002)
        await asyncio.Event().wait()

    chunks = relay(await open_stream(script), flush_of((10, 10, 1.0)))
    assert await anext(chunks) == joined(0, 10)
    await chunks.aclose()


async def test_relay_sends_a_slow_stream_after_the_time_bound(open_stream):
    async def script(response):
        await response.write(event(0))
        await asyncio.Event().wait()

    chunks = relay(await open_stream(script), flush_of(PATIENT, max_delay_s=0.05))
    began = asyncio.get_running_loop().time()
    assert await anext(chunks) == event(0)
    assert asyncio.get_running_loop().time() - began >= 0.04
    await chunks.aclose()


async def test_relay_under_load_posts_seldom_and_loses_nothing(open_stream):
    async def script(response):
        for number in range(100):
            await response.write(event(number))
            await asyncio.sleep(0.001)

    stream_load = StreamLoad(LONG_S)
    stream_load.active = 30  # 50 ms between posts
    content = await open_stream(script)
    chunks = await collect(content, FlushTimer(stream_load, GrowingBatch(*EAGER)))
    assert b"".join(chunks) == joined(0, 100)
    assert len(chunks) < 20


async def test_relay_ends_at_once_within_a_wait_for_the_load(open_stream):
    async def script(response):
        await response.write(event(0))
        await asyncio.sleep(0.02)
        await response.write(event(1))

    stream_load = StreamLoad(LONG_S)
    flush = FlushTimer(stream_load, GrowingBatch(*EAGER))
    chunks = relay(await open_stream(script), flush)
    assert await anext(chunks) == event(0)
    flush.posted(asyncio.get_running_loop().time() + LONG_S, 1)
    async with asyncio.timeout(15):
        assert [chunk async for chunk in chunks] == [event(1)]


@pytest.mark.parametrize("wait", ["for-tokens", "for-load"])
async def test_relay_of_a_cut_connection_hands_over_what_came_and_raises(open_stream, wait):
    cut = asyncio.Event()

    async def script(response):
        await response.write(event(0))
        await asyncio.sleep(0.02)
        await response.write(event(1) + event(2) + b"data: half of an ev")
        await cut.wait()
        response._payload_writer.transport.abort()

    stream_load = StreamLoad(LONG_S)
    flush = FlushTimer(stream_load, GrowingBatch(1, 1000, 1000.0))
    chunks = relay(await open_stream(script), flush)
    assert await anext(chunks) == event(0)
    if wait == "for-load":
        flush.posted(asyncio.get_running_loop().time() + LONG_S, 1)
    asyncio.get_running_loop().call_later(0.1, cut.set)
    async with asyncio.timeout(15):
        assert await anext(chunks) == event(1) + event(2)
        with pytest.raises(aiohttp.ClientError):
            await anext(chunks)


async def test_relay_keeps_a_last_event_without_empty_line(open_stream):
    async def script(response):
        await response.write(event(0) + b"data: [DONE]\n")

    chunks = await collect(await open_stream(script), flush_of(EAGER))
    assert b"".join(chunks) == event(0) + b"data: [DONE]\n"


async def test_relay_of_an_empty_stream_yields_nothing(open_stream):
    async def script(response):
        return

    assert await collect(await open_stream(script), flush_of(EAGER)) == []


async def test_relay_cuts_a_large_chunk_between_events(open_stream, monkeypatch):
    monkeypatch.setattr(EventBuffer.pop, "__defaults__", (len(event(0)) * 2,))

    async def script(response):
        await response.write(joined(0, 5))

    chunks = [chunk async for chunk in relay(await open_stream(script), flush_of(PATIENT))]
    assert chunks == [joined(0, 2), joined(2, 4), event(4)]


async def test_relay_counts_what_it_cuts_once(open_stream, monkeypatch):
    monkeypatch.setattr(EventBuffer.pop, "__defaults__", (len(event(0)) * 2,))
    go_on = asyncio.Event()

    async def script(response):
        await response.write(event(0))
        await go_on.wait()
        await response.write(joined(1, 6))
        await asyncio.Event().wait()

    noted = []

    class Noting(StreamLoad):
        def record_token_time(self, seconds, tokens):
            noted.append(tokens)

    flush = FlushTimer(Noting(LONG_S), GrowingBatch(*EAGER))
    chunks = relay(await open_stream(script), flush)
    assert await anext(chunks) == event(0)
    go_on.set()
    assert [await anext(chunks) for _ in range(3)] == [joined(1, 3), joined(3, 5), event(5)]
    assert noted == [5]
    await chunks.aclose()
