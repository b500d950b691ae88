"""Statistics of one job for its log line; never its content."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

import orjson

from worker.usage import USAGE_MARK, messages_from_the_end

USAGE_NAMES = (("input", "output"), ("prompt_tokens", "completion_tokens"))
"""Names of the token counts in a response: native, OpenAI."""

REASON_MARK = '"finish_reason":"'
METRICS_MARK = '"metrics":{'
"""Their form in a raw stream; a search for them costs less than parsing every event."""

MEMBER = re.compile(r"[\w.\[\]-]{1,120}", re.ASCII)
"""The part of a parameter's path that is logged; its names come from the request."""


class JobStats:
    """Counts the outputs of one job."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._first_s: float | None = None
        self._posts = 0
        self._bytes = 0
        self._rejected_posts = 0
        self._error: object = None
        self._raised_at = ""

    @property
    def first_s(self) -> float | None:
        """Seconds until the first post of an output."""
        return self._first_s

    def record_post(self, size_bytes: int) -> None:
        """Record a post of an output."""
        if self._first_s is None:
            self._first_s = time.monotonic() - self._began_s
        self._posts += 1
        self._bytes += size_bytes

    def record_rejected_post(self) -> None:
        """Record that RunPod did not accept the last post."""
        self._rejected_posts += 1

    def record_failure(self, error: object, raised_at: str) -> None:
        """Record the handler's error and the place in the code that raised it."""
        self._error = error
        self._raised_at = raised_at

    def summary_line(self, result: Mapping[str, Any]) -> str:
        """Return the job's log line.

        Args:
            result: The result that RunPod gets: `output` or `error`.
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
        if self._rejected_posts:
            parts.append(f"{self._rejected_posts} of them not accepted")
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


FREE_FORM = re.compile(
    r"\b(vllm_xargs|logit_bias|metadata|(chat_template|mm_processor|media_io)_kwargs"
    r"|json|json_schema|schema|parameters|arguments|input_schema)\b"
)
"""Parameters whose members are named by the author of the request."""


def _shorten_path(path: str) -> str:
    found = MEMBER.match(path)
    shown = found[0] if found else ""
    if free := FREE_FORM.search(shown):
        shown = shown[: free.end()]
    return shown if shown == path else f"{shown}…"


def find_usage(outputs: list[Any]) -> tuple[int | None, int | None]:
    """Return the token counts of prompt and completion; None if the outputs have none."""
    for message in messages_from_the_end(outputs, USAGE_MARK):
        usage = message.get("usage")
        if not isinstance(usage, Mapping):
            continue
        for name_in, name_out in USAGE_NAMES:
            if name_in in usage:
                return usage[name_in], usage.get(name_out)
    return None, None


def find_queue_time_ms(outputs: list[Any]) -> float | None:
    """Return the queue time in vLLM; None without ENABLE_PER_REQUEST_METRICS."""
    for message in messages_from_the_end(outputs, METRICS_MARK):
        metrics = message.get("metrics")
        if isinstance(metrics, Mapping) and metrics.get("queue_time_ms") is not None:
            return float(metrics["queue_time_ms"])
    return None


def find_finish_reason(outputs: list[Any]) -> str | None:
    """Return the finish reason; None if the outputs have none."""
    for message in messages_from_the_end(outputs, REASON_MARK):
        for choice in message.get("choices") or []:
            if isinstance(choice, Mapping) and choice.get("finish_reason"):
                return str(choice["finish_reason"])
    return None
