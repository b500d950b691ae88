"""A client that does not read its answer: what waits for it is bounded, and others do not wait."""

from __future__ import annotations

import asyncio

from aiohttp import web

from tests.fakes.engine import CHAT, DONE, STREAM

EVENT = b"data: " + b"x" * 10_000 + b"\n\n"
EVENTS = 5_000
"""50 MB."""

MOST_BUFFERED_BYTES = 16 * 1024 * 1024
"""What kernel and libraries hold on the way from vLLM to a client that reads nothing."""


async def test_client_that_reads_nothing_stops_vllm_and_nobody_else(ready):
    sent: list[int] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        mine = len(sent)
        sent.append(0)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(EVENTS if mine == 0 else 50):
            await response.write(EVENT)
            sent[mine] += len(EVENT)
        await response.write(DONE)
        return response

    ready.engine.answer = answer
    async with ready.request("POST", CHAT, json=STREAM) as slow:
        while not sent or not sent[0]:
            await asyncio.sleep(0.01)
        before = -1
        async with asyncio.timeout(20):
            while before != sent[0]:
                before = sent[0]
                status, _body = await ready.ask("POST", CHAT, json=STREAM)
                assert status == 200
                await asyncio.sleep(0.1)
        assert sent[0] < MOST_BUFFERED_BYTES
        async with asyncio.timeout(20):
            whole = await slow.read()
    assert len(whole) == EVENTS * len(EVENT) + len(DONE)
    assert whole.endswith(DONE)
