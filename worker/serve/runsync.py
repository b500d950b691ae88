"""`POST /runsync`: a job in the format of RunPod's queue, over plain HTTP."""

from __future__ import annotations

import re
import uuid
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import orjson
from aiohttp import web

from worker.handler import Handler, Output
from worker.request.codes import Code, request_error
from worker.request.parameters import ignored_header
from worker.serve.body import invalid_body, parse_json
from worker.serve.exchange import Exchange
from worker.serve.proxy import log_record
from worker.usage import Span, UsageMeter, find_answer

PATH = "/runsync"
QUEUE_OPERATIONS = re.compile(r"/(run|purge-queue|(status|stream|cancel|retry)/[^/]+)")
"""Operations of RunPod's queue, which a server without a queue does not have."""

END = b"data: [DONE]\n\n"


async def handle_runsync(
    exchange: Exchange, handler: Handler, meter: UsageMeter | None
) -> web.StreamResponse:
    """Run the job in the body, `{"input": …}`, and send its result or its stream.

    Args:
        exchange: The request; gets the response when a stream starts.
        handler: Answers jobs.
        meter: Measures what each job takes, for its record; None writes none.

    Raises:
        RequestError: The method is wrong, or the job failed.
    """
    if (method := exchange.request.method) != "POST":
        message = f"method: {PATH} takes POST, got {method[:16]!r}"
        raise request_error(Code.METHOD_NOT_ALLOWED, message, "method", allowed_methods=["POST"])
    span = None if meter is None else meter.start()
    try:
        return await _answer(exchange, handler, span)
    finally:
        if span is not None:
            span.end()


def refuse_queue_operation(path: str) -> None:
    """Refuse an operation of RunPod's queue.

    Raises:
        RequestError: The path is one.
    """
    if QUEUE_OPERATIONS.fullmatch(path):
        message = (
            f"route: this endpoint has no queue. POST {PATH} takes the same input and answers at "
            "once, whole or as a stream."
        )
        raise request_error(Code.UNKNOWN_ROUTE, message, "route")


async def _answer(exchange: Exchange, handler: Handler, span: Span | None) -> web.StreamResponse:
    body = parse_json(exchange.body)
    if body is None or "input" not in body:
        raise invalid_body('Expected {"input": {…}}, with the same input that a RunPod job has.')
    job = {"id": uuid.uuid4().hex, "input": body["input"]}
    request = handler.parse(job)
    exchange.path = request.stream_path or exchange.path
    headers = ignored_header(request.ignored)
    async with aclosing(handler.answer(request, job["id"])) as outputs:
        if request.stream:
            response, last = await _stream(exchange, outputs, headers, span)
            report_usage(span, job, last)
            return response
        output = [each async for each in outputs]
    headers |= report_usage(span, job, output)
    result = {"id": job["id"], "status": "COMPLETED", "output": output}
    return web.Response(body=orjson.dumps(result), content_type="application/json", headers=headers)


async def _stream(
    exchange: Exchange,
    outputs: AsyncIterator[Output],
    headers: Mapping[str, str],
    span: Span | None,
) -> tuple[web.StreamResponse, Sequence[Output]]:
    """Send each output as one event; an output of raw events is sent unchanged.

    Returns:
        The response, and the last outputs.
    """
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **headers})
    raw = False
    last: deque[Output] = deque(maxlen=2)
    async for output in outputs:
        if exchange.response is None:
            # Not before the first output: a request that vLLM refuses keeps its real status.
            await exchange.start(response)
        raw = isinstance(output, str)
        event = output.encode() if isinstance(output, str) else orjson.dumps(output)
        await response.write(event if raw else b"data: " + event + b"\n\n")
        last.append(output)
        if span is not None:
            span.note_first()
    if exchange.response is None:
        await exchange.start(response)
    await response.write_eof(b"" if raw else END)
    return response, last


def report_usage(
    span: Span | None, job: Mapping[str, Any], outputs: Sequence[Output]
) -> dict[str, str]:
    """End a job, push and log its usage record, and return it as a header.

    Args:
        span: The job; None if it is not measured.
        job: With its `id` and `input`.
        outputs: Its last outputs.
    """
    if span is None:
        return {}
    span.end()
    job_input = job["input"]
    asked = job_input.get("model") if isinstance(job_input, dict) else None
    record = span.report(job["id"], find_answer(outputs), asked)
    return {} if record is None else log_record(record)
