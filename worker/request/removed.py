"""Parameters that vLLM no longer supports, each with its replacement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.errors import RequestError
from worker.request.codes import Code, request_error
from worker.request.job_input import BatchingInput
from worker.request.json_value import same_value


@dataclass(frozen=True, slots=True)
class RemovedParameter:
    """A parameter that no longer has an effect.

    Attributes:
        reason: Why it has no effect, a few words.
        instead: What to send instead, a phrase after `instead`.
        harmless: Values that match the behaviour without the parameter; they are accepted and
            dropped, as are those of `NOTHING`.
    """

    reason: str
    instead: str
    harmless: tuple[Any, ...] = ()


NOTHING: tuple[Any, ...] = (None, "", [])
"""Values without an effect, for any parameter."""

_GUIDED = "removed from vLLM"
_HTTP = "not part of vLLM's HTTP interface"

REMOVED: dict[str, RemovedParameter] = {
    "guided_json": RemovedParameter(
        _GUIDED, 'structured_outputs: {"json": <schema>}, or response_format'
    ),
    "guided_regex": RemovedParameter(_GUIDED, 'structured_outputs: {"regex": <pattern>}'),
    "guided_choice": RemovedParameter(_GUIDED, 'structured_outputs: {"choice": [<text>, …]}'),
    "guided_grammar": RemovedParameter(_GUIDED, 'structured_outputs: {"grammar": <grammar>}'),
    "guided_json_object": RemovedParameter(
        _GUIDED, 'structured_outputs: {"json_object": true}', harmless=(False,)
    ),
    "guided_whitespace_pattern": RemovedParameter(
        _GUIDED, 'structured_outputs: {"whitespace_pattern": <pattern>, …}'
    ),
    "guided_decoding_backend": RemovedParameter(
        _GUIDED, "nothing; the endpoint's structured-output settings choose the backend"
    ),
    "guided_decoding": RemovedParameter(_GUIDED, "structured_outputs"),
    "early_stopping": RemovedParameter(
        "removed from vLLM",
        "false or leave it out; beam search always searches to the end",
        harmless=(False, "never"),
    ),
    "logits_processors": RemovedParameter(
        "removed from vLLM", "logit_bias, bad_words or allowed_token_ids"
    ),
    "functions": RemovedParameter("deprecated by OpenAI, ignored by vLLM", "tools"),
    "function_call": RemovedParameter(
        "deprecated by OpenAI, ignored by vLLM", "tool_choice", harmless=("none", "auto")
    ),
}
"""Parameters that vLLM's routes ignore silently."""

UNREACHABLE: dict[str, RemovedParameter] = {
    "detokenize": RemovedParameter(_HTTP, "return_token_ids: true", harmless=(True,)),
    "output_kind": RemovedParameter(_HTTP, "stream"),
    "flat_logprobs": RemovedParameter(_HTTP, "logprobs", harmless=(False,)),
    "skip_reading_prefix_cache": RemovedParameter(_HTTP, "cache_salt"),
    "prompt_logprob_token_ids": RemovedParameter(_HTTP, "prompt_logprobs"),
    "prompt_logprob_start": RemovedParameter(_HTTP, "prompt_logprobs"),
    "trace_decode_token_ids": RemovedParameter(_HTTP, "allowed_token_ids"),
}
"""Fields of vLLM's `SamplingParams` that no HTTP route has."""

_NATIVE = {
    "sampling_params": "its parameters in the body itself",
    "apply_chat_template": "the request to /v1/chat/completions",
    "extra_args": "vllm_xargs",
    **dict.fromkeys(BatchingInput.model_fields, "it next to the body, not inside"),
}

RENDERED = ("mm_payload", "return_mm_kwargs", "return_token_offsets")
"""Fields of chat and completion bodies that have an effect on the render routes only."""

RENAMED: dict[str, dict[str, str]] = {
    "/v1/chat/completions": {
        **_NATIVE,
        **dict.fromkeys(RENDERED, "the request to /v1/chat/completions/render"),
        "prompt": "messages",
        "input": "messages",
    },
    "/v1/completions": {
        **_NATIVE,
        **dict.fromkeys(RENDERED, "the request to /v1/completions/render"),
        "messages": "prompt, or the request to /v1/chat/completions",
        "input": "prompt",
        "top_logprobs": "logprobs with the number",
    },
    "/v1/responses": {
        "messages": "input",
        "max_tokens": "max_output_tokens",
        "max_completion_tokens": "max_output_tokens",
        "response_format": "text.format",
        "reasoning_effort": "reasoning.effort",
    },
    "/v1/messages": {"stop": "stop_sequences"},
}
"""Names that have an effect on another route only: route -> name -> what to send."""


def refuse_removed(name: str, removed: RemovedParameter, param: str) -> RequestError:
    """Return the error for a parameter that no longer has an effect."""
    return request_error(
        Code.REMOVED_PARAMETER,
        f"{param}: no longer has an effect ({removed.reason}); send {removed.instead}",
        param,
    )


def drop_removed(
    values: dict[str, Any], table: Mapping[str, RemovedParameter], prefix: str = ""
) -> dict[str, Any]:
    """Return `values` without the harmless values of removed parameters.

    Args:
        values: Parameters by name.
        table: Removed parameters by name.
        prefix: JSON path of `values`, with its trailing dot, for errors.

    Raises:
        RequestError: A removed parameter has another value.
    """
    found = values.keys() & table.keys()
    if not found:
        return values
    for name in sorted(found):
        harmless = (*NOTHING, *table[name].harmless)
        if any(same_value(values[name], fine) for fine in harmless):
            continue
        raise refuse_removed(name, table[name], prefix + name)
    return {name: value for name, value in values.items() if name not in found}
