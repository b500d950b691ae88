"""What one job cost and brought, in the one line that the log has about it; never what it said."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

USAGE_NAMES = (("input", "output"), ("prompt_tokens", "completion_tokens"))
"""How answers name their tokens: native, OpenAI."""

USAGE_MARK = '"usage":{'
REASON_MARK = '"finish_reason":"'
METRICS_MARK = '"metrics":{'
"""How these stand in a raw stream; looking for them costs less than parsing every event."""


MEMBER = re.compile(r"[\w.\[\]-]{1,120}", re.ASCII)
"""What the log repeats of a failed member's path; the names in it come from the request."""


class Account:
    """Counts while a job runs."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._first_s: float | None = None
        self._posts = 0
        self._bytes = 0
        self._lost = 0
        self._error: object = None
        self._raised_at = ""

    def post(self, size_bytes: int) -> None:
        """Note that an output is posted."""
        if self._first_s is None:
            self._first_s = time.monotonic() - self._began_s
        self._posts += 1
        self._bytes += size_bytes

    def lose(self) -> None:
        """Note that RunPod did not accept the output that was posted last."""
        self._lost += 1

    def fail(self, error: object, raised_at: str) -> None:
        """Note the error with which the handler failed, and which place in the code raised it."""
        self._error = error
        self._raised_at = raised_at

    def describe(self, result: Mapping[str, Any]) -> str:
        """Return the line.

        Args:
            result: What is reported to RunPod: `output` or `error`.
        """
        seconds = time.monotonic() - self._began_s
        parts = [f"{seconds:.2f} s"]
        outputs = result.get("output") or []
        if (queued_ms := find_queue_time_ms(outputs)) is not None:
            parts.append(f"waited {queued_ms / 1000:.2f} s in vLLM")
        if self._first_s is not None:
            parts.append(f"first output after {self._first_s:.2f} s")
        tokens_in, tokens_out = find_usage(outputs)
        if tokens_in is not None:
            parts.append(f"{tokens_in} tokens in")
        if tokens_out is not None:
            parts.append(f"{tokens_out} tokens out")
            parts.append(f"{tokens_out / max(seconds, 0.001):.0f} tokens/s")
        if reason := find_finish_reason(outputs):
            parts.append(f"ended by {reason}")
        parts.append(f"{self._posts} posts of {self._bytes} bytes")
        if self._lost:
            parts.append(f"{self._lost} of them not accepted")
        return f"{self._describe_outcome(result)}: {', '.join(parts)}"

    def _describe_outcome(self, result: Mapping[str, Any]) -> str:
        if "error" not in result:
            return "Finished"
        try:
            error = orjson.loads(result["error"])["error"]
            outcome = f"Failed with {error['code']}"
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return "Failed"
        if param := error.get("param"):
            outcome += f" at {_shorten_path(str(param))}"
        if self._raised_at and result["error"] == self._error:
            outcome += f" (raised in {self._raised_at})"
        return outcome


FREE = re.compile(
    r"\b(vllm_xargs|logit_bias|metadata|(chat_template|mm_processor|media_io)_kwargs"
    r"|json|json_schema|schema|parameters|arguments|input_schema)\b"
)
"""Members whose own members have names that the request's author made up."""


def _shorten_path(path: str) -> str:
    found = MEMBER.match(path)
    shown = found[0] if found else ""
    if free := FREE.search(shown):
        shown = shown[: free.end()]
    return shown if shown == path else f"{shown}…"


def find_usage(outputs: list[Any]) -> tuple[int | None, int | None]:
    """Return the tokens of prompt and answer; None where the outputs do not say."""
    for message in _messages_from_the_end(outputs, USAGE_MARK):
        usage = message.get("usage")
        if not isinstance(usage, Mapping):
            continue
        for name_in, name_out in USAGE_NAMES:
            if name_in in usage:
                return usage[name_in], usage.get(name_out)
    return None, None


def find_queue_time_ms(outputs: list[Any]) -> float | None:
    """Return how long vLLM let the request wait; None without ENABLE_PER_REQUEST_METRICS."""
    for message in _messages_from_the_end(outputs, METRICS_MARK):
        metrics = message.get("metrics")
        if isinstance(metrics, Mapping) and metrics.get("queue_time_ms") is not None:
            return float(metrics["queue_time_ms"])
    return None


def find_finish_reason(outputs: list[Any]) -> str | None:
    """Return why the answer ended, None where the outputs do not say."""
    for message in _messages_from_the_end(outputs, REASON_MARK):
        for choice in message.get("choices") or []:
            if isinstance(choice, Mapping) and choice.get("finish_reason"):
                return str(choice["finish_reason"])
    return None


def _messages_from_the_end(outputs: list[Any], mark: str) -> Iterator[Mapping[str, Any]]:
    """Yield what the last outputs hold that can say it: objects, or events with `mark`."""
    for output in reversed(outputs[-2:]):
        if isinstance(output, Mapping):
            yield output
        elif isinstance(output, list):
            yield from (item for item in reversed(output) if isinstance(item, Mapping))
        elif isinstance(output, str) and mark in output:
            for line in reversed(output.splitlines()):
                if line.startswith("data: {") and mark in line:
                    yield orjson.loads(line.removeprefix("data: "))
