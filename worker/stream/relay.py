"""Read one stream of vLLM and pass it on in chunks, one per post."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import aiohttp

from worker.stream.events import EventBuffer
from worker.stream.flush_policy import FlushDelay, FlushTimer


async def relay(content: aiohttp.StreamReader, flush: FlushTimer) -> AsyncGenerator[bytes, None]:
    """Yield chunks of whole server-sent events when `flush` makes them due; the end at once.

    Nothing is read while the consumer posts a chunk. Data that arrives in the meantime waits in
    the connection and becomes part of the next chunk.

    Raises:
        aiohttp.ClientError: The connection ended before the stream did.
    """
    loop = asyncio.get_running_loop()
    buffer = EventBuffer()
    try:
        while data := await content.readany():
            buffer.feed(data)
            while buffer.count and not content.at_eof():
                delay = flush.delay(loop.time(), buffer.count)
                if delay.seconds <= 0:
                    break
                buffer.feed(await _read_during(content, delay))
            arrived = 0 if content.at_eof() else buffer.count
            while buffer.count:
                flush.posted(loop.time(), arrived)
                # Further chunks of the same data; its events were counted with the first.
                arrived = 0
                yield buffer.pop()
    except aiohttp.ClientError:
        # Deliver what arrived before the connection failed.
        while buffer.count:
            yield buffer.pop()
        raise
    if rest := buffer.rest:
        # The stream ended without the final empty line; deliver the rest as it is.
        yield rest


async def _read_during(content: aiohttp.StreamReader, delay: FlushDelay) -> bytes:
    """Return the data that arrived during the delay; the end of the stream ends it early."""
    try:
        async with asyncio.timeout(delay.seconds):
            if delay.wake_on_data:
                return await content.readany()
            await content.wait_eof()
    except TimeoutError:
        pass
    return content.read_nowait(-1)
