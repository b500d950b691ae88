"""A load, and what was measured under it."""

from __future__ import annotations

import math
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

MOST_FAILED = 0.01
"""Share of failed requests above which a measurement says nothing about the rest."""


class Load(BaseModel):
    """One load: how many requests, and when each is sent.

    Attributes:
        requests: How many in all.
        concurrency: How many run at once; None for a rate.
        rate: Mean number of new requests a second, at random moments; None for a concurrency.
    """

    model_config = ConfigDict(frozen=True)

    requests: int
    concurrency: int | None = None
    rate: float | None = None

    def __str__(self) -> str:
        return f"{self.concurrency} at once" if self.rate is None else f"{self.rate:g} per s"


class Spread(BaseModel):
    """Percentiles of a duration, milliseconds."""

    model_config = ConfigDict(frozen=True)

    p50: float
    p95: float
    p99: float


class Measurement(BaseModel):
    """What was measured under one load.

    Attributes:
        load: What was asked.
        completed: Requests that were answered.
        failed: Requests that were not.
        seconds: From the first request to the last answer.
        input_tokens: Of all prompts.
        output_tokens: Of all answers.
        first_token_ms: Until the first token.
        token_ms: Time per token after the first, of a whole answer.
        total_ms: Until the last token.
        mean_total_ms: Its mean, milliseconds.
        errors: Reasons of the failures -> how many.
    """

    model_config = ConfigDict(frozen=True)

    load: Load
    completed: int
    failed: int
    seconds: float
    input_tokens: int
    output_tokens: int
    first_token_ms: Spread
    token_ms: Spread
    total_ms: Spread
    mean_total_ms: float
    errors: dict[str, int] = {}

    @classmethod
    def from_client(cls, load: Load, found: dict[str, Any]) -> Self:
        """Return a measurement from the result of vLLM's client."""

        def spread(name: str) -> Spread:
            return Spread(**{p: found[f"{p}_{name}_ms"] for p in ("p50", "p95", "p99")})

        return cls(
            load=load,
            completed=found["completed"],
            failed=found["failed"],
            seconds=found["duration"],
            input_tokens=found["total_input_tokens"],
            output_tokens=found["total_output_tokens"],
            first_token_ms=spread("ttft"),
            token_ms=spread("tpot"),
            total_ms=spread("e2el"),
            mean_total_ms=found["mean_e2el_ms"],
            errors=found["errors"],
        )

    @property
    def is_valid(self) -> bool:
        """Whether enough requests were answered to judge the load."""
        return self.completed > 0 and self.failed <= MOST_FAILED * self.load.requests

    @property
    def output_per_s(self) -> float:
        """Tokens of answers a second."""
        return self.output_tokens / self.seconds

    @property
    def tokens_per_s(self) -> float:
        """Tokens of prompts and answers a second."""
        return (self.input_tokens + self.output_tokens) / self.seconds

    @property
    def requests_per_s(self) -> float:
        """Answered requests a second."""
        return self.completed / self.seconds

    @property
    def at_once(self) -> int:
        """Requests that ran at once: the concurrency, or by Little's law what a rate leads to."""
        if self.load.concurrency is not None:
            return self.load.concurrency
        return max(1, math.ceil(self.requests_per_s * self.mean_total_ms / 1000))
