"""Usage of a request: tokens, seconds, and its share of the GPUs. Never its content."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from worker.telemetry import MetricsPusher

LOG_PREFIX = "usage: "
"""Start of the line in the log; one JSON object follows."""

HEADER = "X-Worker-Usage"
"""Header of a whole response over HTTP, with the same JSON object."""

USAGE_MARK = '"usage":{'
MODEL_MARK = '"model":"'
"""Their form in a raw stream; a search for them costs less than parsing every event."""

MAX_NAME_LENGTH = 128
"""Characters of a model's name; a request can name any."""


class UsageMeter:
    """Divides the seconds of the GPUs among the requests that run at the same time.

    Args:
        gpus: Number of GPUs of the worker.
        model: Name of the served model, which answers where a request names none.
        usd_per_s: Price of one GPU; None if unknown.
        clock: Time in seconds.
        logs: Whether each request gets a record in the log and in a header.
        pusher: Pushes the records as metrics.
    """

    def __init__(
        self,
        gpus: int,
        model: str,
        usd_per_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        logs: bool = True,
        pusher: MetricsPusher | None = None,
    ) -> None:
        self.logs = logs
        self.pusher = pusher
        self.model = model
        self.usd_per_s = usd_per_s
        self._gpus = gpus
        self._clock = clock
        self._running = 0
        self._share_s = 0.0
        self._at_s = clock()

    def start(self) -> Span:
        """Begin a request."""
        self._advance()
        self._running += 1
        return Span(self, self._at_s, self._share_s)

    def end(self, share_s: float) -> float:
        """End a request that began at `share_s`; return its GPU seconds."""
        self._advance()
        self._running -= 1
        return (self._share_s - share_s) * self._gpus

    def close(self) -> None:
        """Push the last metrics."""
        if self.pusher is not None:
            self.pusher.close()

    def now(self) -> float:
        """Return the time."""
        return self._clock()

    def _advance(self) -> None:
        now = self._clock()
        if self._running:
            self._share_s += (now - self._at_s) / self._running
        self._at_s = now


@dataclass(slots=True)
class Span:
    """One request that runs."""

    meter: UsageMeter
    began_s: float
    share_s: float
    first_s: float | None = None
    gpu_s: float | None = None

    def note_first(self) -> None:
        """Record that the first output was sent."""
        if self.first_s is None:
            self.first_s = self.meter.now() - self.began_s

    def end(self) -> None:
        """End the request; a second call has no effect."""
        if self.gpu_s is None:
            self.gpu_s = self.meter.end(self.share_s)

    def report(self, request_id: str, body: Mapping[str, Any], asked: object = None) -> str | None:
        """Push the record of an ended request; return it as JSON in ASCII if it is to be logged.

        The arguments are those of `record`.
        """
        record = self.record(request_id, body, asked)
        if self.meter.pusher is not None:
            self.meter.pusher.add(record, body.get("object"))
        return json.dumps(record) if self.meter.logs else None

    def record(
        self, request_id: str, body: Mapping[str, Any], asked: object = None
    ) -> dict[str, Any]:
        """Return the record of an ended request.

        Args:
            request_id: Of the job or of the response.
            body: The answer, or the last event of a stream, with `model`, `usage`, `metrics`; empty
                if there is none.
            asked: The model that the request names, where the answer names none.
        """
        metrics = _mapping(body.get("metrics"))
        queue_ms, first_ms = metrics.get("queue_time_ms"), metrics.get("time_to_first_token_ms")
        gpu_s = self.gpu_s or 0.0
        usd_per_s = self.meter.usd_per_s
        names = (body.get("model"), asked, self.meter.model)
        model = next(name for name in names if isinstance(name, str) and name)
        return {
            "id": request_id,
            "model": model[:MAX_NAME_LENGTH],
            "tokens": count_tokens(_mapping(body.get("usage"))),
            "queue_s": _seconds(queue_ms),
            "first_token_s": _seconds(first_ms) or _round(self.first_s),
            "total_s": _round(self.meter.now() - self.began_s),
            "gpu_s": _round(gpu_s),
            "usd": None if usd_per_s is None else round(gpu_s * usd_per_s, 9),
        }


def count_tokens(usage: Mapping[str, Any]) -> dict[str, int | None]:
    """Return the tokens of an answer by kind; None where the answer does not count them."""
    given = _mapping(usage.get("prompt_tokens_details") or usage.get("input_tokens_details"))
    made = _mapping(usage.get("completion_tokens_details") or usage.get("output_tokens_details"))
    return {
        "input": _first(usage, "prompt_tokens", "input_tokens", "input"),
        "cached": _first(given, "cached_tokens") if given else _first(usage, "cached"),
        "output": _first(usage, "completion_tokens", "output_tokens", "output"),
        "reasoning": _first(made, "reasoning_tokens") if made else _first(usage, "reasoning"),
    }


def find_answer(outputs: Sequence[Any]) -> Mapping[str, Any]:
    """Return the object that has the usage, or at least the model; empty if none has."""
    for name, mark in (("usage", USAGE_MARK), ("model", MODEL_MARK)):
        for message in messages_from_the_end(outputs, mark):
            if message.get(name):
                return message
    return {}


def messages_from_the_end(outputs: Sequence[Any], mark: str) -> Iterator[Mapping[str, Any]]:
    """Yield the objects in the last outputs, and the events that contain `mark`."""
    for output in list(outputs)[:-3:-1]:
        if isinstance(output, Mapping):
            yield _unwrap(output)
        elif isinstance(output, list):
            yield from (item for item in reversed(output) if isinstance(item, Mapping))
        elif isinstance(output, str) and mark in output:
            for line in reversed(output.splitlines()):
                if line.startswith("data: {") and mark in line:
                    yield orjson.loads(line.removeprefix("data: "))


def _unwrap(output: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the body inside a line of OpenAI's batch format; any other output as it is."""
    response = output.get("response")
    body = response.get("body") if isinstance(response, Mapping) else None
    return body if isinstance(body, Mapping) else output


def _first(counts: Mapping[str, Any], *names: str) -> int | None:
    return next((counts[name] for name in names if type(counts.get(name)) is int), None)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _seconds(milliseconds: object) -> float | None:
    return _round(milliseconds / 1000) if isinstance(milliseconds, (int, float)) else None


def _round(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
