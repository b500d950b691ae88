"""Checks a JSON object against a captured schema, as vLLM's own configuration classes do.

Not a JSON Schema validator: those classes convert some values ("3" for 3, 1 for true), by the rules
of pydantic's lax mode. `tests/e2e/test_differences.py` compares the two.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from worker.errors import shorten
from worker.settings.rejection import Rejected, expected_choices
from worker.suggest import HINT, suggest

Schema = Mapping[str, Any]


def check_object(value: Any, schema: Schema, path: str = "") -> None:
    """Check one value and everything in it.

    Raises:
        Rejected: For the first thing that vLLM would refuse; names its place inside the value.
    """
    if "anyOf" in schema:
        _check_any(value, schema["anyOf"], path)
        return
    kind = schema.get("type")
    if "enum" in schema:
        _check_choice(value, schema["enum"], path)
    elif kind == "object":
        _check_properties(value, schema, path)
    elif kind == "array":
        _check_items(value, schema, path)
    elif kind in SCALARS:
        _check_scalar(value, schema, path)


def _check_any(value: Any, branches: list[Schema], path: str) -> None:
    rejections: list[Rejected] = []
    for branch in branches:
        if branch.get("type") == "null" and value is not None:
            continue
        try:
            check_object(value, branch, path)
        except Rejected as rejected:
            rejections.append(rejected)
        else:
            return
    if rejections:
        raise rejections[0]


def _check_choice(value: Any, choices: list[Any], path: str) -> None:
    names = [choice for choice in choices if isinstance(choice, str)]
    if isinstance(value, str):
        # Many of vLLM's enumerations are found in any case.
        if value.lower() in (name.lower() for name in names):
            return
        near = suggest(value, names, HINT)
        raise Rejected(f"unknown value {value!r}{_at(path)}", expected_choices(choices), near)
    if not any(value == choice and isinstance(value, type(choice)) for choice in choices):
        shown = json.dumps(value)
        raise Rejected(f"unknown value {shorten(shown)}{_at(path)}", expected_choices(choices))


def _check_properties(value: Any, schema: Schema, path: str) -> None:
    if not isinstance(value, dict):
        raise Rejected(f"not a JSON object{_at(path)}", "a JSON object")
    properties: Mapping[str, Schema] = schema.get("properties", {})
    others = schema.get("additionalProperties")
    for key, item in value.items():
        inner = f"{path}.{key}" if path else str(key)
        if key in properties:
            check_object(item, properties[key], inner)
        elif isinstance(others, Mapping):
            check_object(item, others, inner)
        elif properties and others is False:
            near = suggest(str(key), properties, HINT)
            known = expected_choices(sorted(properties))
            raise Rejected(f"unknown key {str(key)!r}{_at(path)}", known, near)
    if missing := [key for key in schema.get("required", ()) if key not in value]:
        raise Rejected(f"without {' and '.join(missing)}{_at(path)}", f'a member "{missing[0]}"')


def _check_items(value: Any, schema: Schema, path: str) -> None:
    if not isinstance(value, list):
        raise Rejected(f"not a JSON array{_at(path)}", "a JSON array")
    for position, item in enumerate(value):
        check_object(item, schema.get("items", {}), f"{path}[{position}]")


def _check_scalar(value: Any, schema: Schema, path: str) -> None:
    kind = schema["type"]
    if isinstance(value, (dict, list)):
        raise Rejected(f"not a plain value{_at(path)}", f"a JSON {kind}")
    if value is None:
        raise Rejected(f"null{_at(path)}", f"a JSON {kind}")
    read = SCALARS[kind](value)
    if read is None:
        raise Rejected(f"not {ARTICLES[kind]} {kind}{_at(path)}", f"a JSON {kind}")
    if kind not in ("integer", "number"):
        return
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    if (
        (low is not None and read < low)
        or (above is not None and read <= above)
        or (high is not None and read > high)
        or (below is not None and read >= below)
    ):
        raise Rejected(f"out of range{_at(path)}", _range(low, above, high, below))


def _read_integer(value: Any) -> int | None:
    if isinstance(value, int):
        return int(value)
    number = _read_number(value)
    return int(number) if number is not None and number.is_integer() else None


def _read_number(value: Any) -> float | None:
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _read_boolean(value: Any) -> str | None:
    text = str(value).strip().lower() if isinstance(value, str) else f"{float(value):g}"
    return text if text in BOOLEANS else None


def _read_string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


BOOLEANS = frozenset(("0", "1", "true", "false", "t", "f", "yes", "no", "y", "n", "on", "off"))
"""What pydantic reads as a boolean, beside JSON's own."""

SCALARS: Mapping[str, Callable[[Any], Any]] = {
    "integer": _read_integer,
    "number": _read_number,
    "boolean": _read_boolean,
    "string": _read_string,
}
"""Readers of plain values; None where pydantic would not convert."""

ARTICLES = {"integer": "an", "number": "a", "boolean": "a", "string": "a"}


def underscore_keys(value: Any, schema: Schema) -> Any:
    """Return the value with `_` for `-` in the names of known members, as options are written."""
    properties: Mapping[str, Schema] = schema.get("properties", {})
    if not isinstance(value, dict) or not properties:
        return value
    result: dict[str, Any] = {}
    for key, item in value.items():
        name = str(key).replace("-", "_")
        known = name if name in properties and name not in value else key
        result[known] = underscore_keys(item, properties.get(known, {}))
    return result


def _range(low: Any, above: Any, high: Any, below: Any) -> str:
    words = (("at least", low), ("above", above), ("at most", high), ("below", below))
    return "a number " + " and ".join(f"{word} {b}" for word, b in words if b is not None)


def _at(path: str) -> str:
    return f" at {path}" if path else ""
