"""Worst texts for the patterns that meet text from outside: none costs more than in proportion."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from functools import partial

import pytest

import worker
from tests.support.costs import SCALE, is_proportional


def find_patterns() -> dict[str, re.Pattern[str]]:
    """Return the patterns that meet text from outside, by module and pattern."""
    found: dict[str, re.Pattern[str]] = {}

    def add(module: str, value: object) -> None:
        if isinstance(value, re.Pattern):
            found[f"{module} {value.pattern}"] = value
        elif isinstance(value, Mapping):
            add(module, tuple(value.values()))
        elif isinstance(value, tuple | list):
            for each in value:
                add(module, each)

    for module in pkgutil.walk_packages(worker.__path__, "worker."):
        if module.name.startswith(OUTSIDE) and module.name != "worker.engine.child":
            for value in vars(importlib.import_module(module.name)).values():
                add(module.name, value)
    return found


OUTSIDE = (
    *("worker.request", "worker.serve", "worker.handler", "worker.queue", "worker.stream"),
    *("worker.engine", "worker.logs", "worker.redaction"),
)
"""Modules that meet requests, vLLM's messages and log lines, and RunPod's replies."""

ANCHORED = (
    *("worker.request.routes", "worker.request.trace_context", "worker.request.upload"),
    r"worker.queue.decoding \s*",
)
"""Starts of the names of patterns that are used at the start of a text only."""

PATTERNS = find_patterns()

FILLINGS = (" ", "\n", "a", "A", "1", "-", "[", "{", "<", '"', ";", " a", "a.", "a-", "a:")
"""What texts are filled with, after a part of a pattern or alone."""


def worst_texts(pattern: re.Pattern[str], size: int) -> Iterator[str]:
    """Yield texts that begin to match at many places, and match nowhere."""
    # The parts of the pattern that stand for themselves, e.g. `Loading lora `.
    parts = re.findall(r"(?:\\[^\w]|[\w ,:<'`=-])+", pattern.pattern)
    pieces = {re.sub(r"\\(.)", r"\1", part) for part in parts}
    for text in (*FILLINGS, *pieces, *(piece + "a" for piece in pieces)):
        yield (text * size)[:size] + "!"
        yield (text * size)[:size] + "}"


@pytest.mark.parametrize("name", PATTERNS)
def test_pattern_worst_text_costs_in_proportion(name):
    pattern = PATTERNS[name]
    search = pattern.match if name.startswith(ANCHORED) else pattern.search
    sizes = (worst_texts(pattern, size) for size in (32_000 // SCALE, 32_000))
    for small, large in zip(*sizes, strict=True):
        assert is_proportional(partial(search, small), partial(search, large)), small[:80]
