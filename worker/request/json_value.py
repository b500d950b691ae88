"""Validates decoded JSON values: depth, numbers and text; safe for any nesting."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from worker.errors import RequestError, shorten
from worker.request.codes import Code, request_error

MAX_DEPTH = 100
"""Levels of objects and arrays; vLLM's own limit for a JSON schema is 64, the encoder's is 254."""

MAX_PATH_CHARS = 200
"""Characters of a JSON path in an error; names have any length."""

_INT_RANGE = range(-(2**63), 2**64)

Place = tuple["Place", str | int] | None
"""Location of a value: its container's location, and its name or index there.

The path is built from it only for an error, which saves a copy of all names for each item.
"""


def check_json(value: Any) -> None:
    """Raise if `value` cannot be sent to vLLM unchanged.

    Args:
        value: What the job's input was decoded to; never modified.

    Raises:
        RequestError: Too deep, not finite, beyond 64 bits, broken Unicode, or not JSON at all.
    """
    level: list[tuple[Any, Place]] = [(value, None)]
    depth = 0
    while level:
        depth += 1
        below: list[tuple[Any, Place]] = []
        for container, place in level:
            if depth > MAX_DEPTH:
                raise _too_deep(place)
            _check_items(container, place, below)
        level = below


def render_path(parts: Sequence[str | int]) -> str:
    """Return a JSON path for an error: `a.b[0]`, cut to `MAX_PATH_CHARS` characters."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            name = shorten(part, MAX_PATH_CHARS).encode(errors="replace").decode()
            path += f".{name}" if path else name
        if len(path) > MAX_PATH_CHARS:
            break
    return shorten(path, MAX_PATH_CHARS)


def _check_items(container: Any, place: Place, below: list[tuple[Any, Place]]) -> None:
    """Check the items of an object or array and append the containers among them to `below`."""
    if isinstance(container, dict):
        for name in container:
            if not isinstance(name, str):
                raise _invalid(place, "names must be strings")
            if problem := _find_text_problem(name):
                raise _invalid(place, f"a name has {problem}")
        items: Iterable[tuple[str | int, Any]] = container.items()
    elif isinstance(container, list):
        items = enumerate(container)
    else:
        items = [("", container)]
    for key, item in items:
        # Long lists of plain numbers (token ids) are common.
        if type(item) is int and item in _INT_RANGE:
            continue
        if isinstance(item, dict | list):
            below.append((item, (place, key)))
        elif problem := _find_problem(item):
            raise _invalid((place, key), problem)


def _find_problem(item: Any) -> str | None:
    """Return what is wrong with a value that is neither object nor array; None if nothing is."""
    if isinstance(item, str):
        return _find_text_problem(item)
    if isinstance(item, float):
        return None if math.isfinite(item) else "the number must be finite"
    if isinstance(item, int):
        return None if item in _INT_RANGE else "the integer exceeds 64 bits"
    return None if item is None else "not a JSON value"


def _find_text_problem(text: str) -> str | None:
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"half of a surrogate pair at character {error.start}; the text is not valid Unicode"
    return None


def _parts(place: Place) -> list[str | int]:
    parts: list[str | int] = []
    while place is not None:
        place, part = place
        parts.append(part)
    return parts[::-1]


def _invalid(place: Place, problem: str) -> RequestError:
    path = render_path(_parts(place))
    return request_error(Code.INVALID_JSON_VALUE, f"{path}: {problem}", path)


def _too_deep(place: Place) -> RequestError:
    # The rest of a very deep path does not help.
    name = render_path(_parts(place)[:1])
    return request_error(
        Code.INPUT_TOO_DEEP,
        f"{name}: objects and arrays nest deeper than {MAX_DEPTH} levels",
        name,
    )


def json_type_name(value: Any) -> str:
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


def same_value(one: Any, other: Any) -> bool:
    """Return whether two decoded JSON values are equal; 1 and 1.0 are, 1 and true are not."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
