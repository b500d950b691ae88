"""Token counts in the result of a job, in each form that a worker sends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from worker_tools.dev.job import Job

NAMES = (("input", "output"), ("prompt_tokens", "completion_tokens"))
"""Names of the counts: native, OpenAI."""

LAST_OUTPUTS = 3
"""Only so many of the last outputs may have the counts."""

MARK = '"usage":{'
"""A search for it costs less than parsing each event."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a job; None where the result does not name them."""

    tokens_in: int | None = None
    tokens_out: int | None = None


def find_usage(job: Job) -> Usage:
    """Return the token counts of a job's result; the cost does not grow with its length."""
    outputs = job.output if isinstance(job.output, list) else [job.output]
    for output in (*reversed(outputs[-LAST_OUTPUTS:]), *reversed(job.chunks[-LAST_OUTPUTS:])):
        for message in _messages(output):
            usage = message.get("usage")
            if not isinstance(usage, Mapping):
                continue
            for name_in, name_out in NAMES:
                if isinstance(usage.get(name_in), int):
                    return Usage(usage[name_in], _as_int(usage.get(name_out)))
    return Usage()


def _as_int(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _messages(output: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(output, Mapping):
        yield output
    elif isinstance(output, list):
        yield from (item for item in reversed(output[-LAST_OUTPUTS:]) if isinstance(item, Mapping))
    elif isinstance(output, str) and MARK in output:
        for line in reversed(output.splitlines()):
            if line.startswith("data: {") and MARK in line:
                with suppress(orjson.JSONDecodeError):
                    message = orjson.loads(line.removeprefix("data: "))
                    if isinstance(message, Mapping):
                        yield message
