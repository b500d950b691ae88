"""Parses a job's input: detects its shape and calls the parser of that shape."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson

from worker.errors import RequestError
from worker.request.batch_line import refuse_stream
from worker.request.codes import Code, request_error
from worker.request.defaults import RequestDefaults, choose_batching
from worker.request.engine_request import BestOf, EngineRequest, Upload
from worker.request.job_input import (
    BatchingInput,
    BatchLineInput,
    GatewayInput,
    NativeInput,
    RouteInput,
)
from worker.request.json_value import check_json, json_type_name
from worker.request.native_input import build_native_request, parse_native
from worker.request.openai import complete_body, known_fields, requests_stream
from worker.request.parameters import find_typos, unknown_parameters_error
from worker.request.routes import CHAT, COMPLETIONS, Route, find_path, resolve_route
from worker.request.sampling import SamplingParameters
from worker.request.structured_output import check_grammar_size
from worker.request.trace_context import split_trace_context
from worker.request.upload import FORM_ROUTES, split_upload
from worker.request.validation import validate
from worker.suggest import suggest

SHAPES = (
    '{"prompt": …, "sampling_params": {…}}',
    '{"messages": […], "sampling_params": {…}}',
    '{"openai_route": "/v1/chat/completions", "openai_input": {…}}',
    '{"route": "/v1/embeddings", "body": {…}}',
    '{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {…}}',
)
"""The accepted shapes, as errors show them."""

InputShape = Literal["gateway", "batch_line", "route", "openai", "native"]

_GATEWAY = frozenset({"openai_route", "openai_input"})
_BATCH_LINE = frozenset({"custom_id", "url"})
_GENERIC = frozenset({"route", "body", "method"})
_START = frozenset({"prompt", "messages"})
_NATIVE_ONLY = frozenset({"sampling_params", "apply_chat_template", *BatchingInput.model_fields})


@dataclass(frozen=True, slots=True)
class UndecodableInput:
    """Placeholder for the input of a job whose JSON cannot be decoded.

    Attributes:
        error: Why.
    """

    error: RequestError


def parse_job(job_input: object, defaults: RequestDefaults) -> EngineRequest:
    """Return the request to vLLM that answers a job.

    Args:
        job_input: The job's `input`, as decoded from JSON; not modified.
        defaults: What a request gets where it says nothing.

    Raises:
        RequestError: The input is invalid. Its `stream_path` is set if the client reads a stream.
    """
    if isinstance(job_input, UndecodableInput):
        raise job_input.error
    if not isinstance(job_input, dict):
        raise _unknown_shape(f"expected an object, got {json_type_name(job_input)}")
    try:
        check_json(job_input)
        own_input, headers = split_trace_context(job_input)
        request = _parse_shape(own_input, defaults)
        check_grammar_size(request.body or {}, defaults.max_grammar_bytes)
    except RequestError as error:
        error.stream_path = _find_stream_path(job_input)
        raise
    return replace(request, headers=headers) if headers else request


def _parse_shape(job_input: dict[str, Any], defaults: RequestDefaults) -> EngineRequest:
    present = _present_names(job_input)
    match _find_shape(job_input, present):
        case "gateway":
            _refuse_mixture(present, _GATEWAY, _BATCH_LINE | _GENERIC - {"method"} | _START)
            return _parse_gateway(job_input, defaults)
        case "batch_line":
            _refuse_mixture(present, _BATCH_LINE, {"route"} | _START)
            return _parse_batch_line(job_input, defaults)
        case "route":
            _refuse_mixture(present, _GENERIC, _START)
            return _parse_generic(job_input, defaults)
        case "openai":
            named = RouteInput(route=_openai_route(present), body=job_input)
            return _call_route(named, "route", "body", defaults)
        case "native":
            native, ignored = parse_native(job_input, defaults)
            return build_native_request(native, defaults, ignored)
        case None:
            raise _explain_unknown(job_input)


def _find_shape(job_input: Mapping[str, Any], present: set[str]) -> InputShape | None:
    """Return the shape of an input by the names in it; None if it has none."""
    if present & _GATEWAY:
        return "gateway"
    if present & _BATCH_LINE:
        return "batch_line"
    if present & _GENERIC:
        return "route"
    if _is_openai_body(present):
        return "openai"
    return "native" if job_input.keys() & _START or present & _NATIVE_ONLY else None


def _find_stream_path(job_input: Mapping[str, Any]) -> str | None:
    """Return the route if the client of an invalid input reads the route's own stream."""
    present = _present_names(job_input)
    match _find_shape(job_input, present):
        case "gateway":
            route, body = job_input.get("openai_route"), job_input.get("openai_input")
        case "route":
            route, body = job_input.get("route"), job_input.get("body")
        case "openai":
            route, body = _openai_route(present), job_input
        case _:
            return None
    if isinstance(body, str):
        try:
            body = _decode(body)
        except RequestError:
            return None
    if isinstance(route, str) and isinstance(body, dict):
        return route if requests_stream(find_path(route), body) else None
    return None


def _present_names(job_input: Mapping[str, Any]) -> set[str]:
    """Return the names of fields with a value; clients send unused fields empty."""
    return {
        name
        for name, value in job_input.items()
        if value is not None and not (name in _START and value in ("", []))
    }


def _openai_route(present: set[str]) -> str:
    return CHAT if "messages" in present else COMPLETIONS


def _parse_gateway(job_input: Mapping[str, Any], defaults: RequestDefaults) -> EngineRequest:
    data = validate(GatewayInput, job_input)
    body = data.openai_input
    if isinstance(body, str):
        # A gateway that found no JSON may pass on the text itself; for GET it is empty.
        body = _decode(body) if body.strip() else None
    named = RouteInput(
        route=data.openai_route,
        body=body,
        **data.model_dump(include={"method", *BatchingInput.model_fields}),
    )
    return _call_route(named, "openai_route", "openai_input", defaults)


def _parse_generic(job_input: Mapping[str, Any], defaults: RequestDefaults) -> EngineRequest:
    fields = {name: value for name, value in job_input.items() if value is not None}
    known = tuple(RouteInput.model_fields)
    unknown = [name for name in fields if name not in RouteInput.model_fields]
    misspelt = find_typos(unknown, known)
    ignored = tuple(name for name in unknown if name not in misspelt)
    named = validate(RouteInput, {name: fields[name] for name in fields.keys() - set(ignored)})
    return _call_route(named, "route", "body", defaults, ignored)


def _parse_batch_line(job_input: Mapping[str, Any], defaults: RequestDefaults) -> EngineRequest:
    line = validate(BatchLineInput, job_input)
    refuse_stream(line)
    named = RouteInput(route=line.url, method=line.method, body=line.body)
    return replace(_call_route(named, "url", "body", defaults), custom_id=line.custom_id)


def _call_route(
    named: RouteInput,
    where: str,
    inside: str,
    defaults: RequestDefaults,
    ignored: tuple[str, ...] = (),
) -> EngineRequest:
    """Return the request of a named route; `where` and `inside` name route and body in the job.

    Errors about the body have paths within the body, as vLLM's own have: to an OpenAI client the
    body is the whole request.
    """
    method, path, route = resolve_route(
        named.route,
        named.method,
        has_body=named.body is not None,
        open_control=defaults.open_control_routes,
        param=where,
    )
    body: dict[str, Any] | None = None
    best_of: BestOf | None = None
    upload: Upload | None = None
    stream = False
    if method == "POST":
        body = _require_body(named.body, route, inside)
        body, best_of, without_effect = complete_body(route.path, body, defaults)
        ignored += without_effect
        stream = body.get("stream") is True
        if route.path in FORM_ROUTES:
            body, upload = split_upload(body)
    if ignored and defaults.reject_unknown:
        raise unknown_parameters_error(ignored)
    return EngineRequest(
        method=method,
        path=path,
        body=body,
        stream=stream,
        shape="openai",
        batching=choose_batching(named, defaults),
        best_of=best_of,
        upload=upload,
        ignored=ignored,
    )


def _require_body(body: dict[str, Any] | None, route: Route, param: str) -> dict[str, Any]:
    """Return the body to send; a route that takes none gets an empty one."""
    fields = known_fields().get(route.path)
    if body is None and fields is not None and fields.known:
        raise request_error(
            Code.MISSING_PARAMETER, f"{param}: {route.path} needs a JSON body", param
        )
    return body or {}


def _decode(text: str) -> dict[str, Any]:
    """Return a body that arrived as JSON text."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise request_error(
            Code.INVALID_PARAMETER,
            "openai_input: expected an object, got text that is not a JSON object",
            "openai_input",
        )
    check_json(value)
    return value


def _is_openai_body(present: set[str]) -> bool:
    """Return whether the input is a bare OpenAI body: it has a model and a sampling parameter.

    Native input has its sampling parameters inside `sampling_params`, so such a body cannot be
    meant natively; without `model` it is more likely native input with misplaced parameters.
    """
    if "model" not in present or not present & _START or present & _NATIVE_ONLY:
        return False
    fields = known_fields()[_openai_route(present)]
    names = fields.known | fields.official | SamplingParameters.model_fields.keys()
    return bool(present & (names - NativeInput.model_fields.keys()))


def _refuse_mixture(present: set[str], own: frozenset[str], others: Set[str]) -> None:
    mixed = sorted(present & others)
    if mixed:
        mine = " and ".join(sorted(present & own))
        raise _unknown_shape(f"{mine} and {mixed[0]} belong to different shapes", mixed[0])


def _explain_unknown(job_input: Mapping[str, Any]) -> RequestError:
    """Return the error for an input without any of the names that determine its shape."""
    if not job_input:
        return _unknown_shape("the input is empty")
    if "input" in job_input:
        return _unknown_shape("`input` is for an unknown route; send `route` as well")
    starts = sorted(_GATEWAY | _BATCH_LINE | _GENERIC | _START)
    for name in sorted(job_input)[:32]:
        near = suggest(name, starts)
        if near and name not in starts:
            return _unknown_shape(f"unknown name {name}; did you mean {' or '.join(near)}?", name)
    names = ", ".join(sorted(job_input)[:8])
    return _unknown_shape(f"a prompt, messages or a route is missing; got only {names[:200]}")


def _unknown_shape(problem: str, param: str | None = None) -> RequestError:
    end = "" if problem.endswith("?") else "."
    return request_error(
        Code.INVALID_JOB_INPUT,
        f"input: {problem}{end} Accepted shapes: {'; '.join(SHAPES)}",
        param,
    )
