"""What a fake vLLM answers."""

from __future__ import annotations

import asyncio

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


def say(value, status=200, **headers):
    async def answer(request):
        return web.json_response(value, status=status, headers=headers)

    return answer


def stream(*events, hang=False, cut=False, kind="text/event-stream"):
    async def answer(request):
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        for event in events:
            await response.write(event)
        if hang:
            await asyncio.Event().wait()
        if cut:
            await asyncio.sleep(0.02)
            request.transport.abort()
        return response

    return answer


def code_of(body):
    return body["error"]["code"]
