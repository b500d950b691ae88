"""Arbitrary job inputs: most nearly right, since what is quite wrong is refused at once."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from worker.request.compat import COMPAT_PARAMETERS, CONTAINERS
from worker.request.job_input import NativeInput
from worker.request.removed import REMOVED, UNREACHABLE
from worker.request.routes import CHAT, COMPLETIONS, ROUTES
from worker.request.sampling import SamplingParameters
from worker.request.structured_output import TOKEN_CONSTRAINTS

FEW = st.integers(1, 3)
TEXTS = st.text(max_size=30).filter(lambda text: "\x00" not in text)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70).filter(lambda number: not 3 < number < 2**20)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["", "0.7", "auto", "none", "[1]", "{}", "\ud800", "\x00", "🦙" * 50])
)
WILD = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "tool", "?"]), "content": TEXTS}
)
FORMS = st.sampled_from(
    [{"choice": ["a", "bc"]}, {"regex": "[ab]{1,3}"}, {"json": {"const": 7}}, {"json_object": True}]
)

MEANT: dict[str, st.SearchStrategy[Any]] = {
    "n": FEW,
    "best_of": FEW,
    "max_tokens": st.integers(0, 6),
    "min_tokens": st.integers(0, 3),
    "temperature": st.floats(0, 2),
    "top_p": st.floats(0, 1),
    "top_k": st.integers(-1, 5),
    "min_p": st.floats(0, 1),
    "presence_penalty": st.floats(-2, 2),
    "frequency_penalty": st.floats(-2, 2),
    "repetition_penalty": st.floats(0.1, 2),
    "length_penalty": st.floats(-1, 2),
    "seed": st.integers(-5, 5),
    "logprobs": st.integers(-1, 5),
    "prompt_logprobs": st.integers(-1, 3),
    "stop": TEXTS | st.lists(TEXTS, max_size=2),
    "stop_token_ids": st.lists(st.integers(0, 400), max_size=3),
    "allowed_token_ids": st.lists(st.integers(0, 400), min_size=1, max_size=3),
    "bad_words": st.lists(TEXTS, max_size=2),
    "logit_bias": st.dictionaries(st.integers(-1, 400).map(str), st.floats(-100, 100), max_size=2),
    "structured_outputs": FORMS,
    "response_format": st.just({"type": "json_object"}),
    "messages": TEXTS | st.lists(MESSAGE, max_size=3),
    "prompt": TEXTS | st.lists(st.integers(0, 400), max_size=5) | st.lists(TEXTS, max_size=3),
    "model": st.sampled_from(["tiny", "nope"]),
    "stream": st.booleans(),
    "use_beam_search": st.booleans(),
    "echo": st.booleans(),
    "ignore_eos": st.booleans(),
    "truncate_prompt_tokens": st.integers(-1, 5),
}
"""Values that a caller might mean, small enough to be answered at once."""


def members(names: list[str], *, wild: int) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects with some of the names; one value in `wild` may be anything."""

    def value(name: str) -> st.SearchStrategy[Any]:
        return st.integers(1, wild).flatmap(
            lambda number: WILD if number == 1 else MEANT.get(name, WILD)
        )

    return st.lists(st.sampled_from(names), max_size=4, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries({name: value(name) for name in chosen})
    )


def native() -> st.SearchStrategy[dict[str, Any]]:
    sampling = members([*sorted(SamplingParameters.model_fields), *sorted(REMOVED)], wild=6)
    likely = members(sorted(MEANT.keys() & SamplingParameters.model_fields.keys()), wild=20)
    outer = members(
        [
            *sorted(NativeInput.model_fields.keys() - {"sampling_params"}),
            *CONTAINERS,
            *COMPAT_PARAMETERS,
        ],
        wild=6,
    )
    start = st.sampled_from(["prompt", "messages"]).flatmap(
        lambda name: st.fixed_dictionaries({name: MEANT[name]})
    )
    return st.builds(
        lambda begin, more, params: {**begin, **more, "sampling_params": params},
        start,
        st.just({}) | outer,
        likely | likely | sampling,
    )


def constrained() -> st.SearchStrategy[dict[str, Any]]:
    """Return questions whose form and masks often have no token in common."""
    masks = members([*TOKEN_CONSTRAINTS, "logit_bias"], wild=50)
    return st.builds(
        lambda form, params, stream: {
            "prompt": "x",
            "stream": stream,
            "sampling_params": {"max_tokens": 6, **params, "structured_outputs": form},
        },
        FORMS,
        masks,
        st.booleans(),
    )


def bodies() -> st.SearchStrategy[dict[str, Any]]:
    names = sorted({*MEANT, *SamplingParameters.model_fields, *UNREACHABLE, "max_token", "top_n"})
    generation = st.sampled_from([(CHAT, "messages"), (COMPLETIONS, "prompt")]).flatmap(
        lambda pair: st.builds(
            lambda start, more: {
                "openai_route": pair[0],
                "openai_input": {"max_tokens": 4, **more, pair[1]: start},
            },
            MEANT[pair[1]],
            members(sorted(MEANT), wild=20) | members(names, wild=6),
        )
    )
    other = st.builds(
        lambda route, body: {"route": route, "body": body},
        st.sampled_from([route.path for route in ROUTES]) | TEXTS,
        st.dictionaries(st.sampled_from(["input", "prompt", "tokens", *names]), WILD, max_size=3),
    )
    return generation | generation | other


INPUTS: st.SearchStrategy[Any] = native() | native() | constrained() | bodies() | WILD
