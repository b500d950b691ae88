"""Checks a JSON object against a captured schema, only as far as vLLM would certainly refuse it.

Not a JSON Schema validator on purpose: vLLM converts some values itself ("3" for 3), and rejecting
what it would take is worse than leaving a late error to it. The dependency that validates fully
takes longer to import than the whole check may last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    if "enum" in schema and isinstance(value, str):
        _check_choice(value, schema["enum"], path)
    kind = schema.get("type")
    if kind == "object":
        _check_properties(value, schema, path)
    elif kind == "array":
        _check_items(value, schema, path)
    elif kind in ("integer", "number", "boolean", "string"):
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


def _check_choice(value: str, choices: list[Any], path: str) -> None:
    names = [str(choice) for choice in choices]
    if value.lower() in (name.lower() for name in names):
        return
    near = suggest(value, names, HINT)
    raise Rejected(f"unknown value {value!r}{_at(path)}", expected_choices(choices), near)


def _check_properties(value: Any, schema: Schema, path: str) -> None:
    if not isinstance(value, dict):
        raise Rejected(f"not a JSON object{_at(path)}", "a JSON object")
    properties: Mapping[str, Schema] = schema.get("properties", {})
    for key, item in value.items():
        inner = f"{path}.{key}" if path else str(key)
        known_key = str(key).replace("-", "_")
        if known_key in properties:
            check_object(item, properties[known_key], inner)
        elif properties and schema.get("additionalProperties") is False:
            near = suggest(str(key), properties, HINT)
            known = expected_choices(sorted(properties))
            raise Rejected(f"unknown key {str(key)!r}{_at(path)}", known, near)


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
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
        high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
        if (
            (low is not None and value < low)
            or (above is not None and value <= above)
            or (high is not None and value > high)
            or (below is not None and value >= below)
        ):
            raise Rejected(f"out of range{_at(path)}", _range(low, above, high, below))
    if kind in ("integer", "number") and isinstance(value, str) and not _is_number(value):
        raise Rejected(f"not a number{_at(path)}", f"a JSON {kind}")


def _range(low: Any, above: Any, high: Any, below: Any) -> str:
    words = (("at least", low), ("above", above), ("at most", high), ("below", below))
    return "a number " + " and ".join(f"{word} {b}" for word, b in words if b is not None)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _at(path: str) -> str:
    return f" at {path}" if path else ""
