"""Formats figures for people."""

from __future__ import annotations

import math

from worker.profile import Speculation
from worker.profile.memory import GIB

UNKNOWN = "—"


def gib(size: float) -> str:
    """Return bytes as GiB."""
    return f"{size / GIB:.1f} GiB"


def count(number: float | None) -> str:
    """Return a large count in short: `8.2B`, `134M`, `40960`."""
    if number is None:
        return UNKNOWN
    for scale, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if number >= scale:
            return f"{number / scale:.3g}{letter}"
    return f"{number:.0f}"


def requests(number: float) -> str:
    """Return the number of concurrent requests as text."""
    if math.isinf(number):
        return "any"
    return f"{number:.1f}" if number < 100 else f"{number:.0f}"


def tokens(number: float) -> str:
    """Return a number of tokens with separators."""
    return "any" if math.isinf(number) else f"{number:,.0f}"


def price(usd_per_hour: float | None) -> str:
    """Return a price."""
    return UNKNOWN if usd_per_hour is None else f"${usd_per_hour:.2f}/h"


def fact(name: str, value: object) -> str:
    """Return the value of a fact."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_bytes") and isinstance(value, int):
        return f"{gib(value)} ({value:,} bytes)"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, tuple):
        return "; ".join(map(str, value)) or "nothing is kept"
    return str(value)


def draft(preset: Speculation) -> str:
    """Describe a preset for speculative decoding."""
    method, model = preset.config.get("method"), preset.config.get("model")
    what = {"mtp": "the checkpoint's own draft head", "ngram": "n-grams of the prompt"}
    name = model or what.get(str(method), str(method))
    return f"{name}, {preset.config.get('num_speculative_tokens')} tokens per step"
