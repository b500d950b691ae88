"""Answer a job: parse it, send it to vLLM, relay the outputs. The same code for every route.

The handler is an async generator, as RunPod's SDK defines it. Each yield is one post to the
platform. A yield of `{"error": text}` fails the job with that text, here always a JSON error
object. The same yield holds the error's place in the code, `raised_at`, for the log.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import orjson

from worker.engine.client import EngineClient
from worker.errors import RequestError
from worker.logs import job_extra
from worker.request import (
    Code,
    EngineRequest,
    NativeStream,
    RequestDefaults,
    build_reply,
    error_events,
    map_engine_error,
    parse_job,
    request_error,
)
from worker.request.batch_line import build_batch_line, find_custom_id
from worker.request.engine_error import read_error
from worker.request.engine_request import MAX_BODY_BYTES
from worker.request.parameters import NameLog
from worker.request.routes import CHAT, COMPLETIONS
from worker.stream.events import split_events, too_large
from worker.stream.flush_policy import FlushTimer, GrowingBatch, StreamLoad
from worker.stream.relay import relay
from worker.tracing import JobTracer
from worker.usage import UsageMeter

log = logging.getLogger(__name__)

Output = str | dict[str, Any] | list[Any]

STREAM_INTERVAL_ROUTES = frozenset({CHAT, COMPLETIONS})
"""Routes whose body may carry vLLM's `stream_interval`."""

ERROR_EVENTS = (b'data: {"error":', b"event: error\n")
"""Start of an error event in a stream of vLLM, in OpenAI's and in Anthropic's format."""


@dataclass(frozen=True, slots=True)
class HandlerOptions:
    """Settings of the handler.

    Attributes:
        defaults: Values for parameters that a request leaves out.
        request_timeout_s: Maximum time of one job, seconds.
        raw_openai_output: Stream server-sent events as text; False streams parsed objects.
        parses_reasoning: vLLM separates the reasoning of a chat from its answer.
        ignored: Names of ignored parameters that were logged already.
        meter: Measures what each request takes, for usage records; None writes none.
        tracer: Makes a span for each job; None makes none.
    """

    defaults: RequestDefaults
    request_timeout_s: float
    raw_openai_output: bool = True
    parses_reasoning: bool = False
    ignored: NameLog = field(default_factory=NameLog)
    meter: UsageMeter | None = None
    tracer: JobTracer | None = None


def report_ignored(request: EngineRequest, options: HandlerOptions, job_id: object = None) -> None:
    """Log the names of parameters without effect, each once; never their values."""
    if names := options.ignored.add(request.ignored):
        log.warning(
            "ignored request parameters: %s; see docs/requests.md#unknown-parameters",
            ", ".join(names),
            extra=job_extra(job_id),
        )


def choose_stream_interval(
    request: EngineRequest, stream_load: StreamLoad, options: HandlerOptions
) -> int:
    """Return vLLM's `stream_interval`, in tokens, for a stream whose client did not set it."""
    if request.path == CHAT and (options.parses_reasoning or (request.body or {}).get("tools")):
        # vLLM's parsers expect single tokens: an event that holds the end of the reasoning
        # and the start of the answer can lose the reasoning.
        return 1
    return min(stream_load.stream_interval(), request.batching.max_size)


class Handler:
    """Answers jobs with vLLM.

    Args:
        client: The connections to vLLM.
        stream_load: The load that all streams share.
        options: Settings of the handler.
    """

    def __init__(
        self, client: EngineClient, stream_load: StreamLoad, options: HandlerOptions
    ) -> None:
        self._client = client
        self._stream_load = stream_load
        self._options = options

    def parse(self, job: Mapping[str, Any]) -> EngineRequest:
        """Return the request to vLLM that answers a job; log its ignored parameters.

        Raises:
            RequestError: The input is invalid.
        """
        request = parse_job(job.get("input"), self._options.defaults)
        report_ignored(request, self._options, job.get("id"))
        return request

    async def handle(self, job: Mapping[str, Any]) -> AsyncGenerator[Output, None]:
        """Yield the outputs of one job, the last one the failure of a job that fails.

        Closing the generator aborts its request in vLLM.

        Args:
            job: The job, with its `input`.
        """
        stream_path: str | None = None
        now = asyncio.get_running_loop().time
        deadline = now() + self._options.request_timeout_s
        try:
            request = self.parse(job)
            stream_path = request.stream_path
            async with (
                aclosing(self.answer(request, str(job.get("id") or ""))) as answer,
                aclosing(_with_deadline(deadline, answer)) as outputs,
            ):
                async for output in outputs:
                    yield output
            return
        except TimeoutError as error:
            if now() >= deadline:
                failure = timeout_error(self._options.request_timeout_s)
            else:
                failure = describe_failure(error)
        except Exception as error:  # noqa: BLE001  a failed job must not affect the others
            failure = describe_failure(error, job_id=job.get("id"))
        if (custom_id := find_custom_id(job.get("input"))) is not None:
            failure.extra["custom_id"] = custom_id
        stream_path = stream_path or failure.stream_path
        if stream_path is not None:
            # A client that reads only the stream does not see the job's result.
            yield self._raw(error_events(failure, stream_path))
        yield {"error": failure.json(), "raised_at": failure.raised_at}

    async def answer(self, request: EngineRequest, job_id: str) -> AsyncGenerator[Output, None]:
        """Yield the outputs of one job. Closing the generator aborts its request in vLLM.

        Args:
            request: The job's request.
            job_id: For its span.

        Raises:
            RequestError: vLLM refused the request, or reported an error within its stream.
            aiohttp.ClientError, TimeoutError: vLLM could not be reached, or has ended.
        """
        with self._trace(request, job_id) as traced:
            if not traced.stream:
                async with self._send(traced, traced.body) as response:
                    reply = await _read_reply(traced, response)
                line_id = traced.custom_id
                yield reply if line_id is None else build_batch_line(line_id, reply)
                return
            with self._stream_load.stream():
                # Count all jobs that arrived together before the first one chooses its interval.
                await asyncio.sleep(0)
                body, flush = self._prepare_stream(traced)
                async with self._send(traced, body) as response:
                    if response.status != 200:
                        raise map_engine_error(response.status, await read_whole(response), traced)
                    outputs = self._native if traced.shape == "native" else self._openai
                    async for output in outputs(traced, relay(response.content, flush)):
                        yield output

    @contextmanager
    def _trace(self, request: EngineRequest, job_id: str) -> Iterator[EngineRequest]:
        """Make a span of the job while the context is open; yield the request that continues it."""
        tracer = self._options.tracer
        if tracer is None:
            yield request
            return
        attributes = {"messaging.message.id": job_id, "url.path": request.path}
        with tracer.span(request.headers, attributes) as headers:
            yield replace(request, headers=headers)

    def _send(
        self, request: EngineRequest, body: dict[str, Any] | None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._client.request(
            request.method, request.path, body, request.upload, request.headers
        )

    def _prepare_stream(self, request: EngineRequest) -> tuple[dict[str, Any], FlushTimer]:
        """Return the body with a `stream_interval`, and the timer of the stream's posts."""
        body = dict(request.body or {})
        batching = request.batching
        if request.path in STREAM_INTERVAL_ROUTES:
            body.setdefault(
                "stream_interval", choose_stream_interval(request, self._stream_load, self._options)
            )
        batch = GrowingBatch(batching.min_size, batching.max_size, batching.growth_factor)
        return body, FlushTimer(self._stream_load, batch, body.get("stream_interval") or 1)

    async def _openai(
        self, request: EngineRequest, chunks: AsyncIterator[bytes]
    ) -> AsyncIterator[Output]:
        async for chunk in chunks:
            events, error = split_at_error(chunk, request)
            if output := self._raw(events):
                yield output
            if error is not None:
                raise error

    async def _native(
        self, request: EngineRequest, chunks: AsyncIterator[bytes]
    ) -> AsyncIterator[Output]:
        stream = NativeStream(request)
        async for chunk in chunks:
            output = stream.feed(split_events(chunk))
            if output is not None:
                yield output
            if stream.error is not None:
                raise stream.error

    def _raw(self, events: bytes) -> Output:
        if self._options.raw_openai_output:
            return events.decode()
        return list(_parse_events(events))


def describe_failure(error: Exception, path: str = "", job_id: object = None) -> RequestError:
    """Return the error that a client gets for an exception, and log the exception.

    Args:
        error: What ended the answer.
        path: Path of an HTTP request, for the log.
        job_id: Id of a job, for the log.
    """
    if isinstance(error, RequestError):
        return error.detached()
    if isinstance(error, TimeoutError):
        return request_error(Code.ENGINE_UNAVAILABLE, "The engine refused the connection; retry.")
    where = f"{path}: " if path else ""
    extra = job_extra(job_id)
    if isinstance(error, aiohttp.ClientError | OSError):
        log.error("%sthe engine did not answer: %s", where, type(error).__name__, extra=extra)
        return request_error(Code.ENGINE_DIED, "The engine exited during the request; retry.")
    # The client gets a code only; the cause is logged.
    log.error("%sthe worker failed", where, exc_info=error, extra=extra)
    return request_error(Code.INTERNAL_ERROR, "The worker failed; its log has the cause.")


def timeout_error(timeout_s: float) -> RequestError:
    """Return the error for a request that ran longer than the limit."""
    return request_error(
        Code.ENGINE_TIMEOUT,
        f"The request ran longer than {timeout_s:g} s and was stopped. Ask for fewer tokens, or "
        "raise REQUEST_TIMEOUT_S on the endpoint.",
    )


async def _with_deadline(
    deadline: float, outputs: AsyncGenerator[Output, None]
) -> AsyncGenerator[Output, None]:
    """Pass `outputs` on; raise TimeoutError if one is late for `deadline`, in the loop's time.

    The timeout must not be active during a yield, where it would cancel the post of that output.
    """
    while True:
        async with asyncio.timeout_at(deadline):
            try:
                output = await anext(outputs)
            except StopAsyncIteration:
                return
        yield output


async def read_whole(response: aiohttp.ClientResponse) -> bytes:
    """Return the body of vLLM's response.

    Raises:
        RequestError: It is larger than the platform delivers; the rest is not read.
    """
    chunks: list[bytes] = []
    size = response.content_length or 0
    if size <= MAX_BODY_BYTES:
        size = 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                break
            chunks.append(chunk)
    if size > MAX_BODY_BYTES:
        raise too_large()
    return b"".join(chunks)


async def _read_reply(request: EngineRequest, response: aiohttp.ClientResponse) -> Output:
    body = await read_whole(response)
    if response.status >= 400:
        raise map_engine_error(response.status, body, request)
    if response.content_type == "application/json":
        reply: Output = orjson.loads(body)
        return build_reply(request, reply) if isinstance(reply, dict) else reply
    if response.content_type.startswith("text/"):
        return body.decode(errors="replace")
    return {"content_type": response.content_type, "base64": base64.b64encode(body).decode()}


def _parse_events(events: bytes) -> Iterator[Any]:
    """Yield the JSON of each event, without the end mark."""
    for event in split_events(events):
        for line in event.splitlines():
            if line.startswith(b"data: {"):
                yield orjson.loads(line.removeprefix(b"data: "))


def split_at_error(events: bytes, request: EngineRequest) -> tuple[bytes, RequestError | None]:
    """Return the events before vLLM's error event, and the error if there is one.

    Args:
        events: Whole server-sent events.
        request: The request that is answered.
    """
    if not any(mark in events for mark in ERROR_EVENTS):
        return events, None
    before: list[bytes] = []
    for event in split_events(events):
        if event.startswith(ERROR_EVENTS):
            return b"".join(before), read_error(None, next(_parse_events(event), {}), request)
        before.append(event)
    return events, None
