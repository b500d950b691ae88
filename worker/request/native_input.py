"""Converts native input to a request to vLLM's chat or completion route."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from worker.metadata import find_meta
from worker.request.best_of import find_conflict, request_best_of
from worker.request.codes import Code, request_error
from worker.request.compat import COMPAT_PARAMETERS, CONTAINERS, HINTS
from worker.request.defaults import RequestDefaults, choose_batching
from worker.request.engine_request import BestOf, EngineRequest
from worker.request.field import InputMode, aliases_of, input_modes_of
from worker.request.job_input import BatchingInput, NativeInput
from worker.request.openai import known_fields
from worker.request.parameters import (
    SentParameters,
    find_typos,
    flatten,
    translate,
    unknown_parameters_error,
)
from worker.request.removed import NOTHING, REMOVED, RENDERED, UNREACHABLE, drop_removed
from worker.request.routes import CHAT, COMPLETIONS
from worker.request.sampling import SamplingParameters
from worker.request.structured_output import structured_constraints
from worker.request.validation import validate

SAMPLING = "sampling_params"

BEAM_PARAMETERS = frozenset(
    {
        "n",
        "best_of",
        "use_beam_search",
        "length_penalty",
        "early_stopping",
        "max_tokens",
        "temperature",
        "ignore_eos",
        "include_stop_str_in_output",
        "skip_special_tokens",
        "logprobs",
        "truncate_prompt_tokens",
        "truncation_side",
        "stream_interval",
        "watermarking",
    }
)
"""Sampling parameters that vLLM's beam search supports; it ignores all others silently."""

_WORKER_FIELDS = frozenset(
    {
        "prompt",
        "messages",
        "apply_chat_template",
        SAMPLING,
        *BatchingInput.model_fields,
    }
)
"""Native fields that the worker handles itself."""


def parse_native(
    job_input: Mapping[str, Any], defaults: RequestDefaults
) -> tuple[NativeInput, tuple[str, ...]]:
    """Validate native input.

    Returns:
        The input, and the names that the client sent and that have no effect.

    Raises:
        RequestError: Misspelt, misplaced, removed, contradictory or wrong fields; all wrong ones at
            once.
    """
    outer = flatten(job_input, CONTAINERS.keys())
    outer.values = drop_removed(outer.values, REMOVED)
    _drop_empty_start(outer.values)
    sampling = outer.values.get(SAMPLING)
    if sampling is not None and not isinstance(sampling, dict):
        validate(NativeInput, {SAMPLING: sampling})
    inside = flatten(sampling or {}, CONTAINERS.keys(), f"{SAMPLING}.")
    inside.values = drop_removed(inside.values, {**REMOVED, **UNREACHABLE}, f"{SAMPLING}.")
    known = _names_for(_has_messages(outer.values))
    ignored = [
        *_normalize(outer, outer, inside, known),
        *_normalize(inside, outer, inside, known),
    ]
    if ignored and defaults.reject_unknown:
        raise unknown_parameters_error(ignored)
    data = {**outer.values, SAMPLING: inside.values}
    paths = {**outer.paths(), **inside.paths(f"{SAMPLING}.")}
    return validate(NativeInput, data, elsewhere=_places(), sent=paths), tuple(ignored)


def _drop_empty_start(values: dict[str, Any]) -> None:
    """Remove an empty prompt if there are messages, and empty messages if there is a prompt."""
    for name, other in (("prompt", "messages"), ("messages", "prompt")):
        if values.get(name) in ("", []) and values.get(other):
            del values[name]


def _has_messages(values: Mapping[str, Any]) -> bool:
    return values.get("messages") is not None or values.get("apply_chat_template") is True


def _normalize(
    level: SentParameters, outer: SentParameters, inside: SentParameters, known: frozenset[str]
) -> list[str]:
    """Move and translate the parameters of one level to the level where they belong.

    Args:
        level: The level, which is `outer` or `inside`.
        outer: Parameters next to `sampling_params`.
        inside: Parameters inside it.
        known: Names that have an effect in this request.

    Returns:
        Names that have no effect; they are removed. Misspelt and misplaced ones stay.

    Raises:
        RequestError: Two names for one parameter, with different values.
    """
    aliases = aliases_of(SamplingParameters)
    own = (NativeInput if level is outer else SamplingParameters).model_fields
    ignored, left = [], []
    for name in [name for name, value in level.values.items() if value is not None]:
        value = level.values[name]
        found: Mapping[str, Any] | None
        if name in own or (level is inside and name in NativeInput.model_fields):
            continue
        if name in aliases or name in SamplingParameters.model_fields:
            found = {aliases.get(name, name): value}
        elif name in COMPAT_PARAMETERS:
            found = translate(COMPAT_PARAMETERS[name], value, known, {})
        else:
            _refuse_body_only(name, value, level.path_of(name))
            left.append(name)
            continue
        if found is None:
            ignored.append(name)
        path = level.path_of(name)
        del level.values[name]
        for target, translated in (found or {}).items():
            place = outer if target in NativeInput.model_fields else inside
            place.add(target, translated, path.removesuffix(name), name)
    typos = find_typos(left, _suggested_names())
    for name in left:
        if name not in typos:
            ignored.append(name)
            del level.values[name]
    return ignored


def _refuse_body_only(name: str, value: Any, path: str) -> None:
    """Reject a parameter that works only in the body of a route."""
    fields = known_fields()
    known = fields[CHAT].known | fields[COMPLETIONS].known | frozenset(RENDERED)
    if name in known and value not in NOTHING:
        raise request_error(
            Code.UNSUPPORTED_PARAMETER,
            f"{path}: works only in the body of an OpenAI route; use openai_route and openai_input",
            path,
        )


@functools.cache
def _names_for(messages: bool) -> frozenset[str]:
    """Return the names that have an effect in a request with messages or with a prompt."""
    mode: InputMode = "messages" if messages else "prompt"
    outer = {n for n in NativeInput.model_fields if mode in input_modes_of(NativeInput, n)}
    return frozenset(outer | SamplingParameters.model_fields.keys())


@functools.cache
def _suggested_names() -> tuple[str, ...]:
    """Return the names that may be suggested for a typo."""
    return tuple(sorted({*_places(), *HINTS}))


def build_native_request(
    native: NativeInput, defaults: RequestDefaults, ignored: tuple[str, ...] = ()
) -> EngineRequest:
    """Return the request to vLLM that answers native input.

    Args:
        native: The input.
        defaults: Values for parameters that are not sent.
        ignored: Names of sent parameters without an effect.

    Raises:
        RequestError: Fields that contradict each other or have no effect together.
    """
    mode = _input_mode(native)
    sampling = native.sampling_params
    _check_effect(native, mode)
    _check_sampling(native, mode)
    body: dict[str, Any] = {"model": native.model or defaults.model}
    body |= _prompt_fields(native, mode)
    body |= _shared_fields(native)
    body |= _sampling_body(sampling, mode)
    if "max_tokens" not in sampling.model_fields_set:
        body["max_tokens"] = defaults.max_tokens
    # vLLM would constrain the reasoning too, and then drop the whole output.
    drop_reasoning = not native.include_reasoning and bool(structured_constraints(body))
    if drop_reasoning:
        del body["include_reasoning"]
    best_of = _generate_best_of(native, body, mode)
    prompts = _count_prompts(native) if mode == "prompt" else 1
    if native.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
    return EngineRequest(
        method="POST",
        path=CHAT if mode == "messages" else COMPLETIONS,
        body=body,
        stream=native.stream,
        shape="native",
        batching=choose_batching(native, defaults),
        prompts=prompts,
        choices=sampling.n * prompts,
        best_of=best_of,
        drop_reasoning=drop_reasoning,
        limit_warning=_limit_warning(sampling, defaults),
        ignored=ignored,
    )


@functools.cache
def _places() -> dict[str, str]:
    """Return the correct level of each name, for names that are sent at the other level."""
    names = (*SamplingParameters.model_fields, *aliases_of(SamplingParameters))
    inside = {name: f"inside {SAMPLING}" for name in names}
    outer = {name: f"next to {SAMPLING}, not inside" for name in NativeInput.model_fields}
    return {**inside, **outer}


def _input_mode(native: NativeInput) -> InputMode:
    if native.messages is not None:
        return "messages"
    if native.prompt is None:
        raise request_error(
            Code.MISSING_PARAMETER, "prompt: a prompt or messages are required", "prompt"
        )
    if not native.apply_chat_template:
        return "prompt"
    if not isinstance(native.prompt, str):
        raise request_error(
            Code.CONFLICTING_PARAMETERS,
            "apply_chat_template: the prompt must be one text, got a list",
            "apply_chat_template",
        )
    return "messages"


def _prompt_fields(native: NativeInput, mode: InputMode) -> dict[str, Any]:
    if mode == "prompt":
        return {"prompt": native.prompt}
    messages = native.prompt if native.messages is None else native.messages
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    return {"messages": messages}


def _shared_fields(native: NativeInput) -> dict[str, Any]:
    """Return the fields next to the sampling parameters that vLLM has under the same name."""
    names = native.model_fields_set - _WORKER_FIELDS - {"model", "stream"}
    return native.model_dump(include=set(names), exclude_unset=True, by_alias=True)


def _sampling_body(sampling: SamplingParameters, mode: InputMode) -> dict[str, Any]:
    """Return the sampling parameters that the request sets, in the format of the route."""
    values = sampling.model_dump(exclude_unset=True, by_alias=True)
    values.pop("best_of", None)
    values.pop("early_stopping", None)
    fields = SamplingParameters.model_fields
    targets = {field.alias or name: find_meta(field).vllm_name for name, field in fields.items()}
    body = {targets[name] or name: value for name, value in values.items()}
    if mode == "messages" and "logprobs" in body:
        body["top_logprobs"] = body["logprobs"]
        body["logprobs"] = True
    return body


def _check_effect(native: NativeInput, mode: InputMode) -> None:
    """Reject fields that would be ignored for this mode."""
    for name in sorted(native.model_fields_set - _WORKER_FIELDS):
        modes = input_modes_of(NativeInput, name)
        if mode in modes or NativeInput.model_fields[name].default == getattr(native, name):
            continue
        need = "messages, or apply_chat_template: true" if mode == "prompt" else "a plain prompt"
        raise request_error(Code.UNSUPPORTED_PARAMETER, f"{name}: works only with {need}", name)
    both = native.structured_outputs and native.sampling_params.structured_outputs
    if both:
        raise request_error(
            Code.CONFLICTING_PARAMETERS,
            f"structured_outputs: sent both next to and inside {SAMPLING}; keep one",
            "structured_outputs",
        )


def _check_sampling(native: NativeInput, mode: InputMode) -> None:
    sampling = native.sampling_params
    best_of = sampling.best_of or sampling.n
    if best_of < sampling.n:
        raise _conflict("best_of", f"must be at least n ({sampling.n}), got {best_of}")
    if sampling.use_beam_search:
        _check_beam(native)
    elif sampling.length_penalty != 1.0:
        raise _conflict("length_penalty", "works only with use_beam_search: true")
    conflict = find_conflict(
        keep=sampling.n,
        best_of=best_of,
        stream=native.stream,
        temperature=sampling.temperature if "temperature" in sampling.model_fields_set else None,
        beam=sampling.use_beam_search,
    )
    if conflict is not None:
        raise _conflict("best_of" if best_of > sampling.n else "n", conflict)
    if sampling.max_tokens == 0 and not (native.echo and mode == "prompt"):
        raise _conflict("max_tokens", "must be at least 1; 0 works only with echo and a prompt")


def _check_beam(native: NativeInput) -> None:
    """Reject parameters that vLLM's beam search ignores or does not support."""
    sampling = native.sampling_params
    if native.stream:
        raise _conflict("use_beam_search", "beam search cannot be streamed; send stream: false")
    for name in sorted(sampling.model_fields_set - BEAM_PARAMETERS):
        if getattr(sampling, name) != SamplingParameters.model_fields[name].default:
            raise _conflict(name, "has no effect in beam search; remove it or use_beam_search")
    for name in ("structured_outputs", "response_format"):
        if getattr(native, name) is not None:
            raise request_error(
                Code.CONFLICTING_PARAMETERS,
                f"{name}: has no effect in beam search; remove it or use_beam_search",
                name,
            )


def _conflict(name: str, message: str) -> Exception:
    path = f"{SAMPLING}.{name}"
    return request_error(Code.CONFLICTING_PARAMETERS, f"{path}: {message}", path)


def _generate_best_of(native: NativeInput, body: dict[str, Any], mode: InputMode) -> BestOf | None:
    """Request `best_of` sequences from vLLM; return how to select from them."""
    sampling = native.sampling_params
    best_of = sampling.best_of or sampling.n
    if best_of == sampling.n:
        return None
    if native.echo and mode == "prompt" and _count_prompts(native) > 1:
        raise _conflict("best_of", "works with echo only for a single prompt")
    return request_best_of(body, keep=sampling.n, best_of=best_of, chat=mode == "messages")


def _count_prompts(native: NativeInput) -> int:
    prompt = native.prompt
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        return len(prompt)
    return 1


def _limit_warning(sampling: SamplingParameters, defaults: RequestDefaults) -> str | None:
    if "max_tokens" in sampling.model_fields_set:
        return None
    return (
        f"{SAMPLING}.max_tokens was not sent, so the answer ends after {defaults.max_tokens} "
        "tokens; send it for longer answers."
    )
