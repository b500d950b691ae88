"""A job's input to one call: recognises the shape and hands on to the shape's own module."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from worker.request.call import Call
from worker.request.codes import Code, fail
from worker.request.defaults import RequestDefaults, choose_batching
from worker.request.envelope import BatchingInput, GatewayInput, NativeInput, RouteInput
from worker.request.json_value import check_json, kind_of
from worker.request.openai import complete_body, known_fields
from worker.request.question import build_native_call, parse_native
from worker.request.removed import USELESS
from worker.request.routes import CHAT, COMPLETIONS, resolve_route
from worker.request.sampling import SamplingParameters
from worker.request.suggest import ask, suggest
from worker.request.validation import validate

SHAPES = (
    '{"prompt": …, "sampling_params": {…}}',
    '{"messages": […], "sampling_params": {…}}',
    '{"openai_route": "/v1/chat/completions", "openai_input": {…}}',
    '{"route": "/v1/embeddings", "body": {…}}',
)
"""The accepted shapes, as errors show them."""

_GATEWAY = frozenset({"openai_route", "openai_input"})
_GENERIC = frozenset({"route", "body", "method"})
_START = frozenset({"prompt", "messages"})
_NATIVE_ONLY = frozenset({"sampling_params", "apply_chat_template", *BatchingInput.model_fields})


def parse_job(job_input: object, defaults: RequestDefaults) -> Call:
    """Return the call that answers a job.

    Args:
        job_input: The job's `input`, as decoded from JSON.
        defaults: What a request gets where it says nothing.

    Raises:
        RequestError: The input is not something that vLLM could answer as meant.
    """
    if not isinstance(job_input, dict):
        raise _unknown_shape(f"expected an object, got {kind_of(job_input)}", None)
    check_json(job_input)
    present = {name for name, value in job_input.items() if value is not None}
    if present & _GATEWAY:
        _refuse_mixture(present, _GATEWAY, _GENERIC | _START)
        return _parse_gateway(job_input, defaults)
    if present & _GENERIC:
        _refuse_mixture(present, _GENERIC, _START)
        return _parse_generic(job_input, defaults)
    if _is_openai_body(present):
        route = CHAT if "messages" in present else COMPLETIONS
        return _call_route(route, "POST", job_input, BatchingInput(), defaults, ("", ""))
    if present & _START:
        return build_native_call(parse_native(job_input, defaults), defaults)
    raise _unknown_shape(_describe(job_input, present), _nearest(present))


def _parse_gateway(job_input: Mapping[str, Any], defaults: RequestDefaults) -> Call:
    data = validate(GatewayInput, job_input)
    body: Any = (
        data.openai_input or None if isinstance(data.openai_input, str) else (data.openai_input)
    )
    if isinstance(body, str):
        body = _decode(body)
    places = ("openai_route", "openai_input")
    return _call_route(data.openai_route, data.method, body, data, defaults, places)


def _parse_generic(job_input: Mapping[str, Any], defaults: RequestDefaults) -> Call:
    data = validate(RouteInput, job_input)
    return _call_route(data.route, data.method, data.body, data, defaults, ("route", "body"))


def _call_route(
    text: str,
    method: str | None,
    body: Mapping[str, Any] | None,
    batching: BatchingInput,
    defaults: RequestDefaults,
    places: tuple[str, str],
) -> Call:
    """Return the call of a named route; `places` are the JSON paths of route and body."""
    where, inside = places
    chosen, path, route = resolve_route(
        text,
        method,
        has_body=body is not None,
        open_control=defaults.open_control_routes,
        param=where,
    )
    stream, selection, complete = False, None, None
    if chosen == "POST":
        if body is None and route.path in known_fields():
            raise fail(
                Code.MISSING_PARAMETER,
                f"{inside}: {route.path} needs a JSON body",
                inside,
            )
        prefix = f"{inside}." if inside else ""
        complete, stream, selection = complete_body(route.path, body or {}, defaults, prefix)
    return Call(
        method=chosen,
        path=path,
        body=complete,
        stream=stream,
        shape="openai",
        batching=choose_batching(batching, defaults),
        selection=selection,
    )


def _decode(text: str) -> dict[str, Any]:
    """Return a body that arrived as JSON text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise fail(
            Code.INVALID_PARAMETER,
            "openai_input: expected an object, got text that is not a JSON object",
            "openai_input",
        )
    check_json({"openai_input": value})
    return value


def _is_openai_body(present: set[str]) -> bool:
    """Tell a bare OpenAI body from native input: it names a model and a sampling parameter.

    Native input has its sampling parameters inside `sampling_params`, so such a body cannot be
    meant natively; without `model` it is more likely native input with misplaced parameters.
    """
    if not {"model"} < present or not present & _START or present & _NATIVE_ONLY:
        return False
    fields = known_fields()[CHAT if "messages" in present else COMPLETIONS]
    native = NativeInput.model_fields.keys()
    return bool(present & ((fields.known | SamplingParameters.model_fields.keys()) - native))


def _refuse_mixture(present: set[str], own: frozenset[str], foreign: frozenset[str]) -> None:
    mixed = sorted(present & foreign)
    if mixed:
        mine = " and ".join(sorted(present & own))
        raise _unknown_shape(f"{mine} and {mixed[0]} belong to different shapes", mixed[0])


def _describe(job_input: Mapping[str, Any], present: set[str]) -> str:
    if not job_input:
        return "the input is empty"
    if "input" in present:
        return "`input` alone does not say which route it is for; name it in `route`"
    names = ", ".join(name[:40] for name in sorted(present or job_input.keys())[:8])
    near = _nearest(present)
    hint = ""
    if near is not None:
        known = _known_names()
        hint = ask(suggest(near, known)).replace("Did you mean", f"For {near}, did you mean")
    return f"none of these names tells what to do: {names}.{hint}"


def _known_names() -> list[str]:
    return sorted(_GATEWAY | _GENERIC | NativeInput.model_fields.keys())


def _nearest(present: set[str]) -> str | None:
    """Return the first name that is nearly a known one."""
    known = _known_names()
    candidates = sorted(present - set(known) - USELESS.keys())[:32]
    return next((name for name in candidates if suggest(name, known)), None)


def _unknown_shape(problem: str, param: str | None) -> Exception:
    return fail(
        Code.INVALID_JOB_INPUT,
        f"input: {problem.rstrip('.')}. Accepted shapes: {'; '.join(SHAPES)}",
        param,
    )
