"""Answers put together from what was streamed of them, to be compared with whole ones."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Assembled:
    """One of an answer's choices; log-probabilities without their values, which a batch changes."""

    text: str = ""
    reasoning: str = ""
    calls: dict[int, list[str]] = field(default_factory=dict)
    tokens: list[Any] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    prompt_ids: list[int] = field(default_factory=list)
    finish: str | None = None
    stop_reason: Any = None

    def take(self, choice: dict[str, Any]) -> None:
        """Add a streamed choice's deltas, or a whole choice."""
        source = choice.get("delta") or choice.get("message") or choice
        self.text += source.get("content") or source.get("text") or ""
        self.reasoning += source.get("reasoning") or ""
        for place, call in enumerate(source.get("tool_calls") or []):
            found = self.calls.setdefault(call.get("index", place), ["", ""])
            found[0] += call["function"].get("name") or ""
            found[1] += call["function"].get("arguments") or ""
        self._take_logprobs(choice.get("logprobs") or {})
        self.ids += choice.get("token_ids") or []
        self.prompt_ids += choice.get("prompt_token_ids") or []
        self.finish = choice.get("finish_reason") or self.finish
        self.stop_reason = choice.get("stop_reason") or self.stop_reason

    def _take_logprobs(self, logprobs: dict[str, Any]) -> None:
        for token in logprobs.get("content") or []:
            assert token["logprob"] <= 0
            self.tokens.append((token["token"], token["bytes"], len(token["top_logprobs"])))
        if "tokens" in logprobs:
            assert len(logprobs["token_logprobs"]) == len(logprobs["tokens"])
            self.tokens += logprobs["tokens"]
            self.offsets += logprobs["text_offset"]


@dataclass
class Answer:
    """A whole answer.

    Attributes:
        choices: By index.
        usage: Prompt and completion tokens.
        prompt_ids: Token ids of a chat's prompt.
        sizes: Of each event with tokens, how many it has.
        seconds: How long the stream took.
    """

    choices: dict[int, Assembled] = field(default_factory=dict)
    usage: tuple[int, int] | None = None
    prompt_ids: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list, compare=False)
    seconds: float = field(default=0, compare=False)

    def take(self, body: dict[str, Any]) -> None:
        """Add one event's object, or a whole body."""
        assert "error" not in body, body
        for choice in body["choices"]:
            self.choices.setdefault(choice["index"], Assembled()).take(choice)
            if ids := choice.get("token_ids"):
                self.sizes.append(len(ids))
        # Each choice's first event has it.
        self.prompt_ids = body.get("prompt_token_ids") or self.prompt_ids
        if usage := body.get("usage"):
            self.usage = (usage["prompt_tokens"], usage["completion_tokens"])


def assemble(bodies: Iterable[dict[str, Any]]) -> Answer:
    """Return the answer that these events, or this one body, are."""
    answer = Answer()
    for body in bodies:
        answer.take(body)
    return answer


def assemble_stream(text: str) -> Answer:
    """Return the answer that these server-sent events are; they must end in order."""
    events = text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""], events[-3:]
    return assemble(json.loads(event.removeprefix("data: ")) for event in events[:-2])
