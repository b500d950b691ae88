"""`POST /runsync`: a job as RunPod's queue takes it, answered over plain HTTP."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import orjson
from aiohttp import web

from worker.errors import RequestError
from worker.handler import Handler, Output
from worker.request import EngineRequest
from worker.request.members import ignored_header
from worker.serve.answer import Exchange
from worker.serve.relay import not_json, read_body

PATH = "/runsync"
END = b"data: [DONE]\n\n"


async def answer_job(exchange: Exchange, handler: Handler) -> web.StreamResponse:
    """Run the job in the body, `{"input": …}`; return its result, or its stream after the end.

    Args:
        exchange: Knows the stream as soon as its status is sent.
        handler: Answers jobs.

    Raises:
        RequestError: The job failed before anything was sent.
    """
    body = await read_body(exchange.request)
    if body is None or "input" not in body:
        raise not_json('Expected {"input": {…}}, with the same input that a RunPod job has.')
    job = {"id": uuid.uuid4().hex, "input": body["input"]}
    outputs: list[Output] = []
    headers: dict[str, str] = {}

    def name_ignored(call: EngineRequest) -> None:
        headers.update(ignored_header(call.ignored))

    async with aclosing(handler.handle(job, name_ignored)) as answer:
        if wants_stream(body["input"]):
            return await _stream(exchange, answer, headers)
        async for output in answer:
            raise_failure(output)
            outputs.append(output)
    result = {"id": job["id"], "status": "COMPLETED", "output": outputs}
    return web.Response(body=orjson.dumps(result), content_type="application/json", headers=headers)


async def _stream(
    exchange: Exchange, answer: Any, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send each output as one event, or as the events that it already is.

    `headers` are those of the response, complete as soon as there is an output.
    """
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    raw = False
    async for output in answer:
        if exchange.response is None:
            # The first output decides: a refused job keeps its real status.
            if not isinstance(output, str):
                raise_failure(output)
            response.headers.update(headers)
            await exchange.start(response)
        if isinstance(output, str):
            raw = True
            await response.write(output.encode())
        elif not raw or _failure(output) is None:
            # Raw events have reported their error already.
            await response.write(b"data: " + orjson.dumps(_failure(output) or output) + b"\n\n")
    if exchange.response is not None:
        await response.write_eof(b"" if raw else END)
    return response


def wants_stream(job_input: object) -> bool:
    """Tell whether a job asks for a stream, in any of the shapes of its input."""
    if not isinstance(job_input, dict):
        return False
    inner = job_input.get("openai_input") or job_input.get("body") or {}
    streams = job_input.get("stream") is True
    return streams or (isinstance(inner, dict) and inner.get("stream") is True)


def raise_failure(output: Output) -> None:
    """Raise the error that a handler's output reports, with its status; else do nothing."""
    failure = _failure(output)
    if failure is None:
        return
    error = failure["error"]
    known = ("message", "type", "param", "code", "status")
    extra = {name: value for name, value in error.items() if name not in known}
    raised_at = output["raised_at"] if isinstance(output, dict) else ""
    raise RequestError(**{name: error[name] for name in known}, extra=extra, raised_at=raised_at)


def _failure(output: Output) -> dict[str, Any] | None:
    """Return the error object that an output reports; None if it is an answer."""
    if not isinstance(output, dict) or set(output) != {"error", "raised_at"}:
        return None
    failure: dict[str, Any] = orjson.loads(output["error"])
    return failure
