"""Checks that a decoded JSON value can travel on: depth, numbers, text; safe for any nesting."""

from __future__ import annotations

import math
from typing import Any

from worker.request.codes import Code, fail

MAX_DEPTH = 100
"""Levels of objects and arrays; vLLM's own limit for a JSON schema is 64, the encoder's is 254."""

_INT_RANGE = range(-(2**63), 2**64)


def check_json(value: Any) -> None:
    """Raise if `value` holds something that the way to vLLM would change or refuse.

    Args:
        value: What the job's input was decoded to; never modified.

    Raises:
        RequestError: Too deep, not finite, beyond 64 bits, broken Unicode, or not JSON at all.
    """
    level: list[tuple[str, Any]] = [("", value)]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH + 1:
            raise fail(
                Code.INPUT_TOO_DEEP,
                f"{_start(level[0][0])}: objects and arrays nest deeper than {MAX_DEPTH} levels",
                _start(level[0][0]),
            )
        below: list[tuple[str, Any]] = []
        for path, item in level:
            _check_item(path, item, below)
        level = below


def _start(path: str) -> str:
    """Return the first member of a path; the rest of a very deep one helps nobody."""
    return path.partition(".")[0].partition("[")[0]


def _check_item(path: str, item: Any, below: list[tuple[str, Any]]) -> None:
    """Check one value and append what it contains to `below`."""
    if isinstance(item, dict):
        for key, member in item.items():
            if not isinstance(key, str):
                raise fail(Code.INVALID_JSON_VALUE, f"{path}: names must be strings", path)
            _check_text(path, key)
            below.append((f"{path}.{key}" if path else key, member))
    elif isinstance(item, list):
        # Long lists of plain numbers (token ids) are common; only what needs a look goes on.
        below.extend(
            (f"{path}[{index}]", member)
            for index, member in enumerate(item)
            if type(member) is not int or member not in _INT_RANGE
        )
    else:
        _check_scalar(path, item)


def _check_scalar(path: str, item: Any) -> None:
    if isinstance(item, str):
        _check_text(path, item)
    elif isinstance(item, float):
        if not math.isfinite(item):
            raise fail(Code.INVALID_JSON_VALUE, f"{path}: the number must be finite", path)
    elif isinstance(item, int):
        if item not in _INT_RANGE:
            raise fail(Code.INVALID_JSON_VALUE, f"{path}: the integer exceeds 64 bits", path)
    elif item is not None:
        raise fail(Code.INVALID_JSON_VALUE, f"{path}: not a JSON value", path)


def _check_text(path: str, text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise fail(
            Code.INVALID_JSON_VALUE,
            f"{path.encode(errors='replace').decode()}: half of a surrogate pair "
            f"at character {error.start}; the text is not valid Unicode",
            path.encode(errors="replace").decode(),
        ) from None


def kind_of(value: Any) -> str:
    """Return the JSON name of a value's type, with its article, e.g. `an array`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names: dict[type, str] = {
        str: "a string",
        int: "an integer",
        float: "a number",
        list: "an array",
        dict: "an object",
    }
    return next((name for kind, name in names.items() if isinstance(value, kind)), "something else")
