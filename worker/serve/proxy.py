"""Reverse proxy to vLLM: checks each request, forwards it and streams the response back."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from multidict import CIMultiDict

from worker.engine.client import EngineClient
from worker.handler import HandlerOptions, read_whole, report_ignored, split_at_error
from worker.request import (
    EngineRequest,
    build_reply,
    map_engine_error,
    parse_job,
)
from worker.request.openai import check_form
from worker.request.parameters import ignored_header, unknown_parameters_error
from worker.request.routes import resolve_route
from worker.request.upload import FORM_ROUTES, read_field_names
from worker.serve.body import parse_json
from worker.serve.exchange import Exchange
from worker.stream.events import EventBuffer
from worker.usage import HEADER, LOG_PREFIX, Span

log = logging.getLogger(__name__)

USAGE_MARK = b'"usage":{'

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that belong to one connection and not to the message (RFC 9110, 7.6.1)."""

NOT_FORWARDED = frozenset(
    {
        "accept-encoding",
        "authorization",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "host",
        "origin",
        "x-api-key",
    }
)
"""Headers of a request that the worker handles itself; credentials never reach vLLM."""

NOT_RETURNED = frozenset({"date", "server"})


class Proxy:
    """Forwards clients' requests to vLLM, after the same checks as for a job.

    Args:
        client: The connections to vLLM.
        options: Settings of the handler.
    """

    def __init__(self, client: EngineClient, options: HandlerOptions) -> None:
        self._client = client
        self._options = options

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        """Answer one request and return the response. Cancellation aborts the request in vLLM.

        Args:
            exchange: The request; gets the response when its status is sent.

        Raises:
            RequestError: The worker or vLLM refused the request.
            aiohttp.ClientError: vLLM has ended.
        """
        if self._options.meter is None or exchange.request.method != "POST":
            return await self._answer(exchange, None)
        span = self._options.meter.start()
        try:
            return await self._answer(exchange, span)
        finally:
            span.end()

    async def _answer(self, exchange: Exchange, span: Span | None) -> web.StreamResponse:
        request = exchange.request
        headers = forwarded_headers(request.headers)
        if request.content_type == "multipart/form-data":
            headers["Content-Type"] = request.headers["Content-Type"]
            engine_request = self._check_form(request, exchange.body)
            report_ignored(engine_request, self._options)
            opened = self._client.forward(
                engine_request.method, engine_request.path, io.BytesIO(exchange.body), headers
            )
            return await self._forward(exchange, engine_request, opened, span)
        engine_request = self._check(request, parse_json(exchange.body))
        report_ignored(engine_request, self._options)
        for name, value in engine_request.headers.items():
            headers.setdefault(name, value)
        opened = self._client.request(
            engine_request.method,
            engine_request.path,
            engine_request.body,
            engine_request.upload,
            headers,
        )
        return await self._forward(exchange, engine_request, opened, span)

    def _check(self, request: web.Request, body: dict[str, Any] | None) -> EngineRequest:
        """Check a request as the equivalent job, and return the request to vLLM."""
        job_input: dict[str, Any] = {"route": request.path_qs, "method": request.method}
        if request.method == "POST":
            job_input["body"] = body
        return parse_job(job_input, self._options.defaults)

    def _check_form(self, request: web.Request, form: bytes) -> EngineRequest:
        """Check the route of a form and the names of its fields; vLLM checks their values."""
        defaults = self._options.defaults
        method, path, route = resolve_route(
            request.path_qs,
            request.method,
            has_body=True,
            open_control=defaults.open_control_routes,
            param="route",
        )
        ignored: tuple[str, ...] = ()
        if route.path in FORM_ROUTES:
            names = read_field_names(request.headers["Content-Type"], form)
            ignored = check_form(route.path, names)
        if ignored and defaults.reject_unknown:
            raise unknown_parameters_error(ignored)
        return EngineRequest(
            method,
            path,
            None,
            stream=False,
            shape="openai",
            batching=defaults.batching,
            ignored=ignored,
        )

    async def _forward(
        self,
        exchange: Exchange,
        engine_request: EngineRequest,
        opened: contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse],
        span: Span | None,
    ) -> web.StreamResponse:
        async with opened as answer:
            if answer.status >= 400:
                raise map_engine_error(answer.status, await read_whole(answer), engine_request)
            headers = returned_headers(answer.headers)
            headers.extend(ignored_header(engine_request.ignored))
            is_json = answer.content_type == "application/json"
            if engine_request.best_of is not None or (span is not None and is_json):
                return await self._send_whole(exchange, engine_request, answer, headers, span)
            return await self._send_chunks(exchange, engine_request, answer, headers, span)

    async def _send_whole(
        self,
        exchange: Exchange,
        engine_request: EngineRequest,
        answer: aiohttp.ClientResponse,
        headers: CIMultiDict[str],
        span: Span | None,
    ) -> web.StreamResponse:
        whole = await read_whole(answer)
        reply = orjson.loads(whole)
        if engine_request.best_of is not None:
            whole = orjson.dumps(build_reply(engine_request, reply))
        if span is not None:
            headers.extend(report_usage(span, engine_request, reply))
        headers["Content-Length"] = str(len(whole))
        response = web.StreamResponse(status=answer.status, headers=headers)
        await exchange.start(response)
        await response.write_eof(whole)
        return response

    async def _send_chunks(
        self,
        exchange: Exchange,
        engine_request: EngineRequest,
        answer: aiohttp.ClientResponse,
        headers: CIMultiDict[str],
        span: Span | None,
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=headers)
        await exchange.start(response)
        buffer = EventBuffer()
        is_stream = answer.content_type == "text/event-stream"
        last_usage = b""
        async for chunk in answer.content.iter_any():
            error = None
            if is_stream:
                buffer.feed(chunk)
                chunk, error = split_at_error(buffer.pop(buffer.size), engine_request)
            if chunk:
                await response.write(chunk)
                if span is not None:
                    span.note_first()
                    last_usage = find_usage_event(chunk) or last_usage
            if error is not None:
                raise error
        await response.write_eof(buffer.rest)
        if span is not None:
            with contextlib.suppress(orjson.JSONDecodeError):
                report_usage(span, engine_request, orjson.loads(last_usage or b"{}"))
        return response


def report_usage(span: Span, engine_request: EngineRequest, reply: object) -> dict[str, str]:
    """End a request, push and log its usage record, and return it as a header.

    Args:
        span: The request.
        engine_request: What was asked.
        reply: The answer, or the last event of a stream that has a usage.
    """
    span.end()
    body = reply if isinstance(reply, dict) else {}
    # Events of the Responses and Messages APIs have it one level deeper.
    inner = body.get("response") or body.get("message")
    body = inner if isinstance(inner, dict) else body
    record = span.report(str(body.get("id") or ""), body, (engine_request.body or {}).get("model"))
    return {} if record is None else log_record(record)


def log_record(record: str) -> dict[str, str]:
    """Log a usage record and return it as a header."""
    log.info("%s%s", LOG_PREFIX, record)
    return {HEADER: record}


def find_usage_event(events: bytes) -> bytes:
    """Return the JSON of the last event with a usage; empty if there is none."""
    place = events.rfind(USAGE_MARK)
    if place < 0:
        return b""
    start = events.rfind(b"data: ", 0, place) + len(b"data: ")
    end = events.find(b"\n", place)
    return events[start : end if end >= 0 else len(events)]


def forwarded_headers(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Return the request headers that are forwarded to vLLM."""
    return _without(headers, NOT_FORWARDED)


def returned_headers(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Return the response headers that are forwarded to the client."""
    return _without(headers, NOT_RETURNED)


def _without(headers: Mapping[str, str], dropped: frozenset[str]) -> CIMultiDict[str]:
    named = {name.strip().lower() for name in headers.get("Connection", "").split(",")}
    unwanted = HOP_BY_HOP | dropped | named
    return CIMultiDict(
        (name, value) for name, value in headers.items() if name.lower() not in unwanted
    )
