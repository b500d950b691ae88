"""One question in the four ways to ask it: a parameter's effect is tested in each.

An effect is a function that asks twice or more and compares; `@effect` registers it for the
parameters that it shows, and `test_parameters.py` runs it for every way that takes them.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from worker.request.field import input_modes_of
from worker.request.job_input import BatchingInput, NativeInput
from worker.request.openai import known_fields
from worker.request.routes import CHAT, COMPLETIONS
from worker.request.sampling import SamplingParameters

if TYPE_CHECKING:
    from tests.e2e.support.deployment import Api

PROMPT = "The quick brown fox"


class Way(enum.StrEnum):
    """How a question reaches the worker."""

    PROMPT = "native prompt"
    MESSAGES = "native messages"
    CHAT = "chat body"
    TEXT = "completions body"

    @property
    def is_native(self) -> bool:
        return self in (Way.PROMPT, Way.MESSAGES)

    @property
    def is_chat(self) -> bool:
        return self in (Way.MESSAGES, Way.CHAT)

    @property
    def route(self) -> str:
        return CHAT if self.is_chat else COMPLETIONS


@dataclass(frozen=True)
class Sequence:
    """One of the answer's sequences; log-probabilities are `{token: value}`, one per token."""

    text: str
    finish: str | None
    stop_reason: str | int | None
    ids: list[int]
    chosen: list[float]
    likely: list[dict[str, float]]
    tools: list[dict[str, Any]]
    reasoning: str | None


@dataclass(frozen=True)
class Answer:
    """The answer in one form, whatever the way."""

    sequences: list[Sequence]
    usage: dict[str, Any]
    whole: dict[str, Any]

    @property
    def first(self) -> Sequence:
        return self.sequences[0]

    @property
    def text(self) -> str:
        return self.first.text

    @property
    def prompt_ids(self) -> list[int]:
        where = self.whole if "prompt_token_ids" in self.whole else self.whole["choices"][0]
        return list(where["prompt_token_ids"])

    @property
    def prompt_logprobs(self) -> Any:
        where = self.whole if self.whole.get("prompt_logprobs") else self.whole["choices"][0]
        return where.get("prompt_logprobs")


class Asker:
    """Asks one question with the parameters given, in one way.

    Args:
        api: The endpoint.
        way: How.
    """

    def __init__(self, api: Api, way: Way) -> None:
        self.api = api
        self.way = way

    async def __call__(self, **parameters: Any) -> Answer:
        job = await self.api.runsync(self.build(parameters))
        assert job["status"] == "COMPLETED", job
        return read_answer(job["output"][-1], native=self.way.is_native)

    async def fail(self, **parameters: Any) -> dict[str, Any]:
        job = await self.api.runsync(self.build(parameters))
        assert job["status"] == "FAILED", job
        error: dict[str, Any] = json.loads(job["error"])["error"]
        return error

    async def stream(self, **parameters: Any) -> list[Any]:
        """Return the outputs of a streamed answer: native objects, or texts of events."""
        job = await self.api.runsync(self.build({**parameters, "stream": True}))
        assert job["status"] == "COMPLETED", job
        return list(job["output"])

    def build(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the job's input; parameters have their native names."""
        start = {"messages": [{"role": "user", "content": PROMPT}]}
        values = {"max_tokens": 8, "return_token_ids": True, **parameters}
        values = {**(start if self.way.is_chat else {"prompt": PROMPT}), **values}
        outside = {name: values.pop(name) for name in BatchingInput.model_fields if name in values}
        if not self.way.is_native:
            return {**outside, "openai_route": self.way.route, "openai_input": self._body(values)}
        names = NativeInput.model_fields.keys() - {"structured_outputs"}
        outer = {name: values.pop(name) for name in names if name in values}
        return {**outside, **outer, "sampling_params": values}

    def _body(self, values: dict[str, Any]) -> dict[str, Any]:
        body = dict(values)
        if self.way.is_chat and "logprobs" in body:
            body |= {"logprobs": True, "top_logprobs": body["logprobs"]}
        return body


def read_answer(whole: dict[str, Any], *, native: bool) -> Answer:
    """Read an answer that was not streamed."""
    usage = whole["usage"]
    if not native:
        usage = {"input": usage["prompt_tokens"], "output": usage["completion_tokens"]}
        details = whole["usage"].get("prompt_tokens_details") or {}
        usage["cached"] = details.get("cached_tokens")
    return Answer([_read_choice(choice) for choice in whole["choices"]], usage, whole)


def _read_choice(choice: dict[str, Any]) -> Sequence:
    message = choice.get("message") or choice
    text = "".join(choice["tokens"]) if "tokens" in choice else _text(choice)
    logprobs = choice.get("logprobs") or {}
    if "content" in logprobs:
        content = logprobs["content"] or []
        chosen = [token["logprob"] for token in content]
        likely = [{t["token"]: t["logprob"] for t in token["top_logprobs"]} for token in content]
    else:
        chosen = logprobs.get("token_logprobs") or []
        likely = [tops or {} for tops in logprobs.get("top_logprobs") or []]
    return Sequence(
        text,
        choice["finish_reason"],
        choice.get("stop_reason"),
        choice.get("token_ids") or [],
        chosen,
        likely,
        message.get("tool_calls") or [],
        message.get("reasoning"),
    )


def _text(choice: dict[str, Any]) -> str:
    return str(choice["text"] if "text" in choice else choice["message"]["content"] or "")


def ways_of(name: str) -> set[Way]:
    """Return the ways that take a parameter, which natively may have another name."""
    ways = {
        way
        for way in (Way.CHAT, Way.TEXT)
        if name in known_fields()[way.route].known
        or name == "best_of"
        or name in BatchingInput.model_fields
    }
    for model in (SamplingParameters, NativeInput):
        if name in model.model_fields:
            kinds = input_modes_of(model, name)
            ways |= {Way(f"native {kind}") for kind in kinds}
    return ways


Check = Callable[[Asker], Awaitable[None]]


@dataclass(frozen=True)
class Effect:
    """What shows the effect of some parameters.

    Attributes:
        names: The parameters, by their native names.
        check: Asks and compares.
        ways: The ways in which it is shown.
    """

    names: tuple[str, ...]
    check: Check
    ways: frozenset[Way]


EFFECTS: list[Effect] = []


def effect(*names: str, only: Iterable[Way] = Way) -> Callable[[Check], Check]:
    """Register a check for the parameters whose effect it shows.

    Args:
        *names: The parameters, by their native names; the same ways take all of them.
        only: The ways in which it can be shown, where others take the parameters as well.
    """
    ways = set.intersection(*(ways_of(name) for name in names))

    def register(check: Check) -> Check:
        EFFECTS.append(Effect(names, check, frozenset(ways.intersection(only))))
        return check

    return register


def list_cases(module: str) -> list[Any]:
    """Return a parametrisation of the effects of one module: check, and way."""
    return [
        pytest.param(each.check, way, id=f"{'+'.join(each.names)}-{way}")
        for each in EFFECTS
        for way in sorted(each.ways)
        if each.check.__module__ == module
    ]
