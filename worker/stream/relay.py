"""Read one stream of vLLM and hand it on in pieces that are worth a post each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp

from worker.stream.events import EventBuffer
from worker.stream.pacing import Flush, Wait


async def relay(content: aiohttp.StreamReader, flush: Flush) -> AsyncIterator[bytes]:
    """Yield whole server-sent events, each piece when `flush` says so, the end at once.

    While the consumer is busy with a piece (posting it), nothing is read here: what arrives in the
    meantime waits in the connection and travels together with the next piece.

    Raises:
        aiohttp.ClientError: The connection ended before the stream did.
    """
    loop = asyncio.get_running_loop()
    buffer = EventBuffer()
    try:
        while data := await content.readany():
            buffer.feed(data)
            while buffer.count and not content.at_eof():
                wait = flush.wait(loop.time(), buffer.count)
                if wait.seconds <= 0:
                    break
                buffer.feed(await _read_during(content, wait))
            arrived = 0 if content.at_eof() else buffer.count
            while buffer.count:
                flush.posted(loop.time(), arrived)
                # The other pieces of what is too large for one arrived with the first.
                arrived = 0
                yield buffer.take()
    except aiohttp.ClientError:
        # What vLLM said before it went away still belongs to the user.
        while buffer.count:
            yield buffer.take()
        raise
    if rest := buffer.rest:
        # A server that ends without the last empty line; nothing that it said is dropped.
        yield rest


async def _read_during(content: aiohttp.StreamReader, wait: Wait) -> bytes:
    """Return what has arrived when the wait is over; the end of the stream is always its end."""
    try:
        async with asyncio.timeout(wait.seconds):
            if wait.wake_on_data:
                return await content.readany()
            await content.wait_eof()
    except TimeoutError:
        pass
    return content.read_nowait(-1)
