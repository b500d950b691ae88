"""What pydantic's errors mean, in the project's words; settings and requests share them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import ErrorDetails, PydanticCustomError

Parts = tuple[str | int, ...]
"""Names and indices that lead to a place in the input."""

MAX_CHOICES = 8
"""Choices that an error lists; the docs have all of them."""

TYPES: Mapping[str, str] = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
"""Errors of type: the value is of another kind than the field."""

BOUNDS: Mapping[str, tuple[str, str]] = {
    "greater_than_equal": ("ge", "at least {}"),
    "greater_than": ("gt", "above {}"),
    "less_than_equal": ("le", "at most {}"),
    "less_than": ("lt", "below {}"),
}
LENGTHS: Mapping[str, tuple[str, str]] = {
    "string_too_short": ("min_length", "at least {} characters"),
    "string_too_long": ("max_length", "at most {} characters"),
    "too_short": ("min_length", "at least {} items"),
    "too_long": ("max_length", "at most {} items"),
}


BOOLEANS = "true, 1, yes, on or false, 0, no, off"

MESSAGES: tuple[tuple[str, str], ...] = (
    ("int", "not an integer"),
    ("float", "not a number"),
    ("finite", "not a number"),
    ("bool", "not a boolean"),
    ("greater", "out of range"),
    ("less", "out of range"),
    ("string_too_short", "too short"),
    ("string_too_long", "too long"),
    ("too_short", "too short"),
    ("too_long", "too long"),
    ("string_pattern", "not of the right form"),
    ("missing", "a member is missing"),
    ("string", "not text"),
    ("dict", "not a JSON object"),
    ("model", "not a JSON object"),
    ("list", "not a list"),
)
"""Start of an error's type -> message."""


@dataclass(frozen=True, slots=True)
class InvalidValue:
    """Why a value was rejected.

    Attributes:
        message: What is wrong, without a full stop.
        expected: What would have been accepted.
        suggestions: Nearest accepted values.
    """

    message: str
    expected: str | None
    suggestions: tuple[str, ...] = ()


def invalid_value(
    message: str, expected: str | None = None, suggestions: Sequence[str] = ()
) -> PydanticCustomError:
    """Return the error for a validator to raise; `describe` returns its parts."""
    context = {"message": message, "expected": expected, "suggestions": tuple(suggestions)}
    return PydanticCustomError("invalid_value", "{message}", context)


def describe(detail: ErrorDetails) -> InvalidValue:
    """Return one error of pydantic in the words of the settings."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "invalid_value":
        return InvalidValue(**context)
    message = next((text for start, text in MESSAGES if kind.startswith(start)), detail["msg"])
    if kind.startswith("bool"):
        return InvalidValue(message, BOOLEANS)
    return InvalidValue(message, ("a number " if kind in BOUNDS else "") + expected_text(detail))


def expected_text(detail: ErrorDetails) -> str:
    """Return what would have been accepted, as a phrase that follows "expected"."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in TYPES:
        return TYPES[kind]
    if kind in BOUNDS or kind in LENGTHS:
        key, phrase = {**BOUNDS, **LENGTHS}[kind]
        text = phrase.format(plain(context[key]))
        return text[:-1] if kind in LENGTHS and context[key] == 1 else text
    if kind == "literal_error":
        return str(context["expected"])
    if kind == "string_pattern_mismatch":
        return f"text that matches {context['pattern']}"
    return str(context.get("expected") or detail["msg"])


def plain(number: Any) -> str:
    """Return a number without a needless fraction."""
    return f"{number:g}" if isinstance(number, float) else str(number)


def expected_choices(choices: Sequence[Any]) -> str:
    """Return `one of a, b, c`, cut where there are many."""
    shown = ", ".join(str(choice) for choice in choices[:MAX_CHOICES])
    more = len(choices) - MAX_CHOICES
    return f"one of {shown}" + (f" and {more} more" if more > 0 else "")


def closest(details: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Return the errors of the members of a union that have the value's own type, else all."""
    return [detail for detail in details if detail["type"] not in TYPES] or list(details)


def locate(loc: Sequence[int | str], data: Any) -> Parts:
    """Return the place of an error, without pydantic's names of union members."""
    parts: Parts = ()
    value = data
    for part in loc:
        if isinstance(part, int):
            if isinstance(value, list) and part < len(value):
                parts, value = (*parts, part), value[part]
        elif isinstance(value, dict) and part in value:
            parts, value = (*parts, part), value[part]
        elif value is data or (part.isidentifier() and isinstance(value, dict)):
            parts, value = (*parts, part), None
    return parts


def value_at(data: Any, parts: Parts) -> Any:
    """Return the value at a place; None where the input has none."""
    for part in parts:
        try:
            data = data[part]
        except (KeyError, TypeError):
            return None
    return data
