"""One job in, its outputs out: parse, ask vLLM, relay. The same code for every route.

An async generator in the form that RunPod's SDK defines: each yield is one post to the platform,
and a yield of `{"error": text}` fails the job with that text, here always a JSON error object. The
same yield names the place in the code, `raised_at`, for the log.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from worker.engine.client import EngineClient
from worker.errors import RequestError
from worker.logs import about_job
from worker.request import (
    Call,
    Code,
    NativeStream,
    RequestDefaults,
    build_reply,
    error_event,
    error_events,
    fail,
    map_engine_error,
    parse_job,
)
from worker.request.call import MAX_BODY_BYTES
from worker.request.engine_error import read_error
from worker.request.members import NameLog
from worker.request.routes import CHAT, COMPLETIONS
from worker.stream.events import split_events, too_large
from worker.stream.flush_policy import FlushTimer, GrowingBatch, StreamLoad
from worker.stream.relay import relay

log = logging.getLogger(__name__)

Output = str | dict[str, Any] | list[Any]

STREAM_INTERVAL_ROUTES = frozenset({CHAT, COMPLETIONS})
"""Routes whose body may carry vLLM's `stream_interval`."""

ERROR_EVENTS = (b'data: {"error":', b"event: error\n")
"""How an error begins that vLLM reports within a stream: OpenAI's form and Anthropic's."""


@dataclass(frozen=True, slots=True)
class HandlerOptions:
    """What the settings say about answering.

    Attributes:
        defaults: What a request gets where it says nothing.
        request_timeout_s: Longest time of one job, seconds.
        raw_openai_output: Stream server-sent events as text; False streams parsed objects.
        parses_reasoning: vLLM tells thoughts and answer of a chat apart.
        ignored: Names of ignored parameters that the log has already.
    """

    defaults: RequestDefaults
    request_timeout_s: float
    raw_openai_output: bool = True
    parses_reasoning: bool = False
    ignored: NameLog = field(default_factory=NameLog)


def report_ignored(call: Call, options: HandlerOptions, job_id: object = None) -> None:
    """Log parameters without effect, each name once; never their values."""
    if names := options.ignored.add(call.ignored):
        log.warning(
            "ignored request parameters: %s; see docs/requests.md#unknown-parameters",
            ", ".join(names),
            extra=about_job(job_id),
        )


def choose_interval(call: Call, stream_load: StreamLoad, options: HandlerOptions) -> int:
    """Return vLLM's `stream_interval` for a stream whose client names none, in tokens."""
    if call.path == CHAT and (options.parses_reasoning or (call.body or {}).get("tools")):
        # vLLM's parsers are made for single tokens: where one event holds the end of the
        # thoughts and the start of the answer, the thoughts can be lost.
        return 1
    return min(stream_load.stream_interval(), call.batching.max_size)


class Handler:
    """Answers jobs with vLLM.

    Args:
        client: The connections to vLLM.
        stream_load: The load that all streams share.
        options: What the settings say.
    """

    def __init__(
        self, client: EngineClient, stream_load: StreamLoad, options: HandlerOptions
    ) -> None:
        self._client = client
        self._stream_load = stream_load
        self._options = options

    async def handle(
        self, job: Mapping[str, Any], accepted: Callable[[Call], None] | None = None
    ) -> AsyncGenerator[Output, None]:
        """Yield the outputs of one job; closing the generator aborts its request in vLLM.

        Args:
            job: The job, with its `input`.
            accepted: Called once with what it asks for, before it is answered.
        """
        call: Call | None = None
        now = asyncio.get_running_loop().time
        deadline = now() + self._options.request_timeout_s
        try:
            call = parse_job(job.get("input"), self._options.defaults)
            report_ignored(call, self._options, job.get("id"))
            if accepted is not None:
                accepted(call)
            async with (
                aclosing(self._answer(call)) as answer,
                aclosing(_until(deadline, answer)) as outputs,
            ):
                async for output in outputs:
                    yield output
            return
        except RequestError as error:
            failure = error.detached()
        except TimeoutError:
            failure = self._timed_out(expired=now() >= deadline)
        except (aiohttp.ClientError, OSError) as error:
            log.error(
                "the engine did not answer: %s",
                type(error).__name__,
                extra=about_job(job.get("id")),
            )
            failure = fail(
                Code.ENGINE_DIED, "The engine ended before the answer did; send it again."
            )
        except Exception:
            # The client gets a code; the cause belongs in the log.
            log.exception("the handler failed", extra=about_job(job.get("id")))
            failure = fail(Code.INTERNAL_ERROR, "The worker failed; its log has the cause.")
        if (path := _streamed_route(job.get("input"), call)) is not None:
            # Readers of the stream see no job result; an OpenAI client raises on this event.
            yield self._raw(error_events(failure, path))
        yield report_failure(failure)

    def _timed_out(self, *, expired: bool) -> RequestError:
        if not expired:
            return fail(Code.ENGINE_UNAVAILABLE, "The engine took no connection; send it again.")
        return fail(
            Code.ENGINE_TIMEOUT,
            f"The job ran longer than {self._options.request_timeout_s:g} s and was stopped. Ask "
            "for fewer tokens, or raise REQUEST_TIMEOUT_S on the endpoint.",
        )

    async def _answer(self, call: Call) -> AsyncGenerator[Output, None]:
        if not call.stream:
            async with self._send(call, call.body) as response:
                yield await _read_reply(call, response)
            return
        with self._stream_load.stream():
            # Jobs that came together are all counted before the first of them chooses.
            await asyncio.sleep(0)
            body, flush = self._prepare_stream(call)
            async with self._send(call, body) as response:
                if response.status != 200:
                    raise map_engine_error(response.status, await read_whole(response), call)
                outputs = self._native if call.shape == "native" else self._openai
                async for output in outputs(call, relay(response.content, flush)):
                    yield output

    def _send(
        self, call: Call, body: dict[str, Any] | None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._client.request(call.method, call.path, body, call.upload)

    def _prepare_stream(self, call: Call) -> tuple[dict[str, Any], FlushTimer]:
        """Choose how finely vLLM cuts the stream, unless the client did, and how often we post."""
        body = dict(call.body or {})
        batching = call.batching
        if call.path in STREAM_INTERVAL_ROUTES:
            body.setdefault(
                "stream_interval", choose_interval(call, self._stream_load, self._options)
            )
        batch = GrowingBatch(batching.min_size, batching.max_size, batching.growth_factor)
        return body, FlushTimer(self._stream_load, batch, body.get("stream_interval") or 1)

    async def _openai(self, call: Call, pieces: AsyncIterator[bytes]) -> AsyncIterator[Output]:
        failure: RequestError | None = None
        async for piece in pieces:
            told, error = retell_errors(piece, call)
            failure = failure or error
            if output := self._raw(told):
                yield output
        if failure is not None:
            # The reader of the stream has the event; the job must not count as completed.
            yield report_failure(failure)

    async def _native(self, call: Call, pieces: AsyncIterator[bytes]) -> AsyncIterator[Output]:
        stream = NativeStream(call)
        async for piece in pieces:
            output = stream.feed(split_events(piece))
            if output is not None:
                yield output
            if stream.error is not None:
                raise stream.error

    def _raw(self, events: bytes) -> Output:
        if self._options.raw_openai_output:
            return events.decode()
        return list(_parse_events(events))


def report_failure(error: RequestError) -> Output:
    """Return the output that fails a job; of it, only `error` reaches the platform."""
    return {"error": error.json(), "raised_at": error.raised_at}


async def _until(
    deadline: float, outputs: AsyncGenerator[Output, None]
) -> AsyncGenerator[Output, None]:
    """Pass `outputs` on; raise TimeoutError where one is not there by the loop's time `deadline`.

    The time-out must not be open at a yield: it would cancel the post of that output instead.
    """
    while True:
        async with asyncio.timeout_at(deadline):
            try:
                output = await anext(outputs)
            except StopAsyncIteration:
                return
        yield output


def _streamed_route(job_input: object, call: Call | None) -> str | None:
    """Return the route of an OpenAI client that reads a stream; None for all other callers.

    Args:
        job_input: The job's input, of which nothing is known if it was refused.
        call: What it asked for, if it was accepted.
    """
    if call is not None:
        return call.path if call.stream and call.shape == "openai" else None
    match job_input:
        case {"openai_route": str(route), "openai_input": {"stream": True}}:
            return route
    return None


async def read_whole(response: aiohttp.ClientResponse) -> bytes:
    """Return the body of vLLM's answer.

    Raises:
        RequestError: It is larger than the platform delivers; no more of it is read.
    """
    pieces: list[bytes] = []
    size = response.content_length or 0
    if size <= MAX_BODY_BYTES:
        size = 0
        async for piece in response.content.iter_any():
            size += len(piece)
            if size > MAX_BODY_BYTES:
                break
            pieces.append(piece)
    if size > MAX_BODY_BYTES:
        raise too_large()
    return b"".join(pieces)


async def _read_reply(call: Call, response: aiohttp.ClientResponse) -> Output:
    body = await read_whole(response)
    if response.status >= 400:
        raise map_engine_error(response.status, body, call)
    if response.content_type == "application/json":
        reply: Output = orjson.loads(body)
        return build_reply(call, reply) if isinstance(reply, dict) else reply
    if response.content_type.startswith("text/"):
        return body.decode(errors="replace")
    return {"content_type": response.content_type, "base64": base64.b64encode(body).decode()}


def _parse_events(events: bytes) -> Iterator[Any]:
    """Yield the JSON of each event, without the end mark."""
    for event in split_events(events):
        for line in event.splitlines():
            if line.startswith(b"data: {"):
                yield orjson.loads(line.removeprefix(b"data: "))


def retell_errors(events: bytes, call: Call) -> tuple[bytes, RequestError | None]:
    """Put our error in the place of vLLM's, where it reports one within a stream.

    Args:
        events: Whole server-sent events.
        call: The call that is answered.

    Returns:
        The events, and the error if there was one.
    """
    if not any(mark in events for mark in ERROR_EVENTS):
        return events, None
    found: RequestError | None = None
    told = []
    for event in split_events(events):
        if event.startswith(ERROR_EVENTS):
            found = read_error(None, next(_parse_events(event), {}), call)
            event = error_event(found, call.path)
        told.append(event)
    return b"".join(told), found
