"""`POST /runsync`: a job in the format of RunPod's queue, over plain HTTP."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

import orjson
from aiohttp import web

from worker.handler import Handler, Output
from worker.request.parameters import ignored_header
from worker.serve.exchange import Exchange
from worker.serve.proxy import invalid_body, read_body

PATH = "/runsync"
END = b"data: [DONE]\n\n"


async def handle_runsync(exchange: Exchange, handler: Handler) -> web.StreamResponse:
    """Run the job in the body, `{"input": …}`, and send its result or its stream.

    Args:
        exchange: The request; gets the response when a stream starts.
        handler: Answers jobs.

    Raises:
        RequestError: The job failed.
    """
    body = await read_body(exchange.request)
    if body is None or "input" not in body:
        raise invalid_body('Expected {"input": {…}}, with the same input that a RunPod job has.')
    job = {"id": uuid.uuid4().hex, "input": body["input"]}
    request = handler.parse(job)
    exchange.path = request.stream_path or exchange.path
    headers = ignored_header(request.ignored)
    async with aclosing(handler.answer(request)) as outputs:
        if request.stream:
            return await _stream(exchange, outputs, headers)
        output = [each async for each in outputs]
    result = {"id": job["id"], "status": "COMPLETED", "output": output}
    return web.Response(body=orjson.dumps(result), content_type="application/json", headers=headers)


async def _stream(
    exchange: Exchange, outputs: AsyncIterator[Output], headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send each output as one event; an output of raw events is sent unchanged."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **headers})
    raw = False
    async for output in outputs:
        if exchange.response is None:
            # Not before the first output: a request that vLLM refuses keeps its real status.
            await exchange.start(response)
        raw = isinstance(output, str)
        event = output.encode() if isinstance(output, str) else orjson.dumps(output)
        await response.write(event if raw else b"data: " + event + b"\n\n")
    if exchange.response is None:
        await exchange.start(response)
    await response.write_eof(b"" if raw else END)
    return response
