"""The load: bursts of equal requests, all sent at the same time."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.environment import MODEL

Shape = Literal["chat", "completion"]

ROUTES: dict[Shape, str] = {"chat": "/v1/chat/completions", "completion": "/v1/completions"}

WARM_UP_TOKENS = 8

_serial = itertools.count()


@dataclass(frozen=True, slots=True)
class Burst:
    """Requests that are sent at the same time.

    Attributes:
        concurrency: How many.
        tokens: Tokens that each of them generates.
        rtt_ms: Round trip between worker and platform, milliseconds.
        stream: Whether the answers are streamed.
        shape: Which of OpenAI's routes is asked.
    """

    concurrency: int
    tokens: int
    rtt_ms: float = 0
    stream: bool = True
    shape: Shape = "chat"


@dataclass(frozen=True, slots=True)
class Stream:
    """Measurements of one request; times of `time.monotonic()`, seconds.

    Attributes:
        submitted_s: When it was made.
        chunks_s: When each of its chunks was there, with a streamed answer.
        finished_s: When the answer was complete.
        tokens: Tokens that were generated.
        posts: Posts from worker to platform.
        size_bytes: Bytes in their bodies.
    """

    submitted_s: float
    chunks_s: tuple[float, ...]
    finished_s: float
    tokens: int
    posts: int = 0
    size_bytes: int = 0


def make_warm_up(burst: Burst) -> Burst:
    """Return a short burst of the same kind as warm-up."""
    return dataclasses.replace(burst, concurrency=min(burst.concurrency, 32), tokens=WARM_UP_TOKENS)


def build_prompts(burst: Burst) -> list[str]:
    """Return a prompt for each request, without common prefixes."""
    return [
        f"{next(_serial)} is the number of this job, which the worker hands to the engine."
        for _ in range(burst.concurrency)
    ]


def build_input(burst: Burst, prompt: str) -> dict[str, Any]:
    """Return the job input that RunPod's OpenAI gateway makes of one request."""
    body: dict[str, Any] = {
        "model": MODEL,
        "temperature": 0,
        "max_tokens": burst.tokens,
        "ignore_eos": True,
        "stream": burst.stream,
    }
    if burst.stream:
        body["stream_options"] = {"include_usage": True}
    if burst.shape == "chat":
        body["messages"] = [{"role": "user", "content": prompt}]
    else:
        body["prompt"] = prompt
    return {"openai_route": ROUTES[burst.shape], "openai_input": body}
