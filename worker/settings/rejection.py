"""Why a value was rejected, and the words for what would have been accepted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from worker.vllm_options.option import Option

MOST_CHOICES = 8
"""Choices that an error lists; the docs have them all."""


class Rejected(Exception):
    """A value is not what its option takes; becomes a `Problem` where the place is known.

    Attributes:
        message: What is wrong, without a full stop.
        expected: What would have been accepted.
        suggestions: Nearest accepted values.
    """

    def __init__(
        self, message: str, expected: str | None = None, suggestions: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.suggestions = suggestions


def expected_choices(choices: Sequence[Any]) -> str:
    """Return `one of a, b, c`, cut where there are many."""
    shown = ", ".join(str(choice) for choice in choices[:MOST_CHOICES])
    more = len(choices) - MOST_CHOICES
    return f"one of {shown}" + (f" and {more} more" if more > 0 else "")


def expected_number(option: Option) -> str:
    """Return what a numeric option takes, bounds and unit included."""
    schema = option.schema
    noun = "a number" if option.kind == "number" else "an integer"
    bounds = [
        f"{word} {_plain(schema[keyword])}"
        for keyword, word in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "below"),
        )
        if keyword in schema and not ("auto" in option.kind and keyword == "minimum")
    ]
    text = f"{noun} {' and '.join(bounds)}" if bounds else noun
    if "human" in option.kind:
        text += ", such as 8192, 8k (8000) or 8K (8192)"
    return f"{text}, or auto" if "auto" in option.kind else text


def _plain(bound: Any) -> str:
    return f"{bound:g}" if isinstance(bound, float) else str(bound)
