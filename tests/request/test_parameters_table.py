"""Every parameter of every way to ask: accepted and shown_names to work, or refused with a hint."""

from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from tests.e2e.support.effects import answer, choice, chunks, deployment, end, reasoning
from tests.e2e.support.parameters import EFFECTS, Way, ways_of
from worker.errors import RequestError
from worker.request import Batching, RequestDefaults, parse_job
from worker.request.compat import COMPAT_PARAMETERS
from worker.request.field import aliases_of
from worker.request.job_input import BatchingInput, NativeInput
from worker.request.openai import known_fields
from worker.request.removed import REMOVED, RENDERED, UNREACHABLE
from worker.request.routes import CHAT, COMPLETIONS
from worker.request.sampling import SamplingParameters

DEFAULTS = RequestDefaults("served", Batching(1, 50, 3.0), 16)
MODULES = {
    answer,
    choice,
    deployment,
    end,
    chunks,
    reasoning,
}

UNSEEN = {
    "ec_transfer_params": "needs a disaggregated deployment",
    "kv_transfer_params": "needs a disaggregated deployment",
    "extra_args": "for custom sampling code; vLLM has none",
    "vllm_xargs": "for custom sampling code; vLLM has none",
    "prompt_embeds": "needs ENABLE_PROMPT_EMBEDS",
    "request_id": "natively in vLLM's log only",
    "routed_experts_prompt_start": "needs a mixture of experts",
    "session_id": "an identifier for routing between engines",
    "spaces_between_special_tokens": "a byte-level tokenizer has no spaces there",
    "user": "no effect by design",
    "watermarking": "needs a configured watermark",
    "early_stopping": "false and `never` are what happens anyway; true is refused, which is tested",
}
"""Accepted parameters whose effect cannot be seen on the tiny model, each with the reason."""

WAYS = {
    "native": (Way.PROMPT, Way.MESSAGES),
    "chat": (Way.CHAT,),
    "completions": (Way.TEXT,),
}

# The parameters in worker-vllm's README, of chat and of native requests.
PROMISED = [
    "messages",
    "model",
    "temperature",
    "top_p",
    "n",
    "max_tokens",
    "seed",
    "stop",
    "stream",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "user",
    "best_of",
    "top_k",
    "ignore_eos",
    "use_beam_search",
    "stop_token_ids",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "add_generation_prompt",
    "echo",
    "repetition_penalty",
    "min_p",
    "length_penalty",
    "include_stop_str_in_output",
    "early_stopping",
    "prompt",
    "apply_chat_template",
    "sampling_params",
    "max_batch_size",
    "min_batch_size",
    "batch_size_growth_factor",
]


def ways_shown(name: str) -> set[Way]:
    return {way for each in EFFECTS if name in each.names for way in each.ways}


def names() -> list[str]:
    known = known_fields()
    native = {**SamplingParameters.model_fields, **NativeInput.model_fields}
    bodies = known[CHAT].known | known[COMPLETIONS].known
    return sorted({*native, *bodies, *REMOVED, *RENDERED, *UNREACHABLE} - {"sampling_params"})


def refusal(name: str, way: Way) -> RequestError | None:
    """Return how the parameter is refused where nothing takes it; None if nobody minds."""
    start: dict[str, Any] = {"messages": "x"} if way.is_chat else {"prompt": "x"}
    job_input: dict[str, Any]
    if not way.is_native:
        job_input = {"openai_route": way.route, "openai_input": {**start, name: [True]}}
    elif name in UNREACHABLE:
        job_input = {**start, "sampling_params": {name: [True]}}
    else:
        job_input = {**start, name: [True]}
    try:
        parse_job(job_input, DEFAULTS)
    except RequestError as error:
        return error
    return None


def alias(name: str, ways: tuple[Way, ...]) -> str | None:
    """Return the name that a request may also use `name` for."""
    if all(way.is_native for way in ways):
        return aliases_of(SamplingParameters).get(name)
    known = set.intersection(*(set(known_fields()[way.route].known) for way in ways))
    target = COMPAT_PARAMETERS[name].target if name in COMPAT_PARAMETERS else None
    return target if target in known else None


def is_ignored(name: str, way: Way) -> bool:
    start: dict[str, Any] = {"messages": "x"} if way.is_chat else {"prompt": "x"}
    job_input = {**start, name: [True]}
    if not way.is_native:
        job_input = {"openai_route": way.route, "openai_input": job_input}
    return name in parse_job(job_input, DEFAULTS).ignored


def cell(name: str, ways: tuple[Way, ...]) -> str:
    taken = set(ways) & ways_of(name)
    if taken:
        if name in REMOVED:
            return "harmless values accepted, others rejected with hint"
        if taken & ways_shown(name):
            return "accepted, effect tested"
        return f"accepted; {UNSEEN[name]}"
    other = alias(name, ways)
    if other is not None:
        return f"accepted as `{other}`"
    errors = [refusal(name, way) for way in ways]
    assert all(errors) or not any(errors), name
    if errors[0] is None:
        reported = [is_ignored(name, way) for way in ways]
        assert all(reported), name
        return "ignored and reported"
    hinted = {"unsupported_parameter", "removed_parameter", "misplaced_parameter"}
    hinted |= {"unknown_parameter"}
    assert all(error and error.code in hinted for error in errors), (name, errors)
    return "rejected with hint"


def render() -> str:
    lines = [
        f"| parameter | {' | '.join(WAYS)} | in worker-vllm's README |",
        "|---|---|---|---|---|",
    ]
    for name in names():
        promised = "yes" if name in PROMISED else ""
        cells = [cell(name, ways) for ways in WAYS.values()]
        lines.append(f"| `{name}` | {' | '.join(cells)} | {promised} |")
    return "\n".join(lines) + "\n"


class MarkdownFile(SingleFileSnapshotExtension):
    _write_mode = WriteMode.TEXT
    file_extension = "md"


def test_parameter_table_is_as_agreed(snapshot: SnapshotAssertion) -> None:
    assert {each.check.__module__ for each in EFFECTS} == {each.__name__ for each in MODULES}
    assert render() == snapshot(extension_class=MarkdownFile)


@pytest.mark.parametrize("name", PROMISED)
def test_promised_parameter_is_known(name: str) -> None:
    assert name in {*names(), "sampling_params", *BatchingInput.model_fields}


def test_reasons_are_only_for_what_is_not_tested() -> None:
    accepted = {name for name in names() if ways_of(name)}
    seen = {name for each in EFFECTS for name in each.names}
    assert accepted - seen - UNSEEN.keys() == set()
    # Shown in the bodies only.
    assert UNSEEN.keys() & seen == {"request_id"}
