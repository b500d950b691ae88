"""Texts for pydantic's errors, shared by settings and requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import ErrorDetails, PydanticCustomError

Parts = tuple[str | int, ...]
"""Names and indices that lead to a place in the input."""

MAX_CHOICES = 8
"""Choices that an error lists; the docs have all of them."""

_INTEGER = ("not an integer", "an integer")
_NUMBER = ("not a number", "a number")
_BOOLEAN = ("not a boolean", "true or false")
_OBJECT = ("not a JSON object", "an object")

TYPES: Mapping[str, tuple[str, str]] = {
    "string_type": ("not text", "a string"),
    **dict.fromkeys(("int_type", "int_parsing", "int_parsing_size", "int_from_float"), _INTEGER),
    **dict.fromkeys(("float_type", "float_parsing"), _NUMBER),
    "finite_number": ("not a number", "a finite number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), _BOOLEAN),
    "list_type": ("not a list", "an array"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), _OBJECT),
}
"""Errors of type: what is wrong, and what is accepted."""

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
"""Errors of range: the limit's name in the error's context, and what is accepted."""

MESSAGES: Mapping[str, str] = {
    **{kind: message for kind, (message, _) in TYPES.items()},
    **dict.fromkeys(BOUNDS, "out of range"),
    **{kind: f"too {kind.rpartition('_')[2]}" for kind in LENGTHS},
    "string_pattern_mismatch": "not in the right format",
    "missing": "a member is missing",
}
"""What is wrong, by the error's type."""

BOOLEANS = "true, 1, yes, on or false, 0, no, off"


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
    message = MESSAGES.get(kind, detail["msg"])
    if kind.startswith("bool"):
        return InvalidValue(message, BOOLEANS)
    return InvalidValue(message, ("a number " if kind in BOUNDS else "") + expected_text(detail))


def expected_text(detail: ErrorDetails) -> str:
    """Return what would have been accepted, as a phrase that follows "expected"."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in TYPES:
        return TYPES[kind][1]
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
