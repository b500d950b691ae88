"""Decode the body of a fetch. One job's bad input must not lose the other jobs of the fetch.

A body is decoded as strict JSON first. What Python's decoder refuses is then decoded tolerantly:
bytes that are not UTF-8, integers of thousands of digits and deep nesting become values that
`worker.request.json_value` refuses with the job's own error. Only a body with broken syntax is
split into its jobs. Every step takes time proportional to the body.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from worker.errors import WorkerError
from worker.request import UndecodableInput
from worker.request.codes import Code, request_error
from worker.request.json_value import MAX_DEPTH

KEPT_LEVELS = 2 * MAX_DEPTH
"""Levels of nesting that tolerant decoding keeps. Python's decoder accepts them, and the input is
still refused as too deep."""

MAX_INTEGER_DIGITS = 1000
"""Digits of an integer that is decoded; Python refuses 4,300, and takes quadratic time below."""

TOO_LARGE = 2**64
"""Replaces an integer with more digits."""

_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
"""A string; one without an end extends to the end of the text. Never fails at a quotation mark, so
that no part of the text is read twice."""

_RUN = re.compile(rf'[\[{{]++|[\]}}]++|(?:[^"\[\]{{}}]++|{_STRING})++', re.DOTALL)
"""A run of opening brackets, of closing brackets, or of text between brackets."""

_MARK = re.compile(rf"{_STRING}|[\[\]{{}},]", re.DOTALL)
_NAME = re.compile(rf"\s*({_STRING})\s*:", re.DOTALL)


class FetchError(WorkerError):
    """The platform's response to a fetch contains no list of jobs."""


def decode_strictly(body: bytes) -> Any:
    """Return the decoded body.

    Raises:
        ValueError, RecursionError: Something in it cannot be decoded.
    """
    return json.loads(body.decode())


def decode_tolerantly(body: bytes) -> list[Any]:
    """Return the jobs of a body that cannot be decoded strictly.

    Args:
        body: One job or an array of jobs, as the platform sent it.

    Returns:
        Each job as it was decoded. Of a job with broken syntax, an object with its `id` (None if
        that was not found) and an `UndecodableInput` as its `input`.

    Raises:
        FetchError: The body is neither an object nor an array.
    """
    text = body.decode(errors="surrogateescape").strip()
    try:
        return check_jobs(_decode(text))
    except json.JSONDecodeError:
        if text.startswith("["):
            return [_decode_job(job) for job in _split(text)]
        if text.startswith("{"):
            return [_decode_job(text)]
        return check_jobs(text)


def check_jobs(value: Any) -> list[Any]:
    """Return the jobs of a decoded body; each one may have any type.

    Raises:
        FetchError: The body is neither an object nor an array.
    """
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list):
        return value
    if value is None or value == "":
        return []
    raise FetchError("the platform's response contains no jobs")


def _decode_job(text: str) -> Any:
    try:
        return _decode(text)
    except json.JSONDecodeError:
        problem = request_error(Code.INVALID_JSON_VALUE, "input: not valid JSON")
        return {"id": _find_id(text), "input": UndecodableInput(problem)}


def _decode(text: str) -> Any:
    """Return the decoded text, with placeholders for integers and nesting beyond the limits.

    Raises:
        json.JSONDecodeError: The syntax is broken.
    """
    try:
        return json.loads(text, parse_int=_parse_integer, strict=False)
    except RecursionError:
        return json.loads(_cut_depth(text), parse_int=_parse_integer, strict=False)


def _parse_integer(digits: str) -> int:
    return int(digits) if len(digits) <= MAX_INTEGER_DIGITS else TOO_LARGE


def _cut_depth(text: str) -> str:
    """Return the text with the number 0 in place of every array and object that is too deep."""
    kept: list[str] = []
    depth = 0
    for match in _RUN.finditer(text):
        run = match[0]
        before = depth
        if run[0] in "[{":
            depth += len(run)
            if before <= KEPT_LEVELS:
                kept.append(run[: KEPT_LEVELS - before])
                if depth > KEPT_LEVELS:
                    kept.append("0")
        elif run[0] in "]}":
            depth -= len(run)
            if depth < KEPT_LEVELS:
                kept.append(run[max(0, before - KEPT_LEVELS) :])
        elif depth <= KEPT_LEVELS:
            kept.append(run)
    return "".join(kept)


def _find_id(text: str) -> str | None:
    """Return the `id` of a job with broken syntax."""
    found: str | None = None
    for member in _split(text):
        name = _NAME.match(member)
        if name is None or _decode_string(name[1]) != "id":
            continue
        found = _decode_string(member[name.end() :])
    return found


def _decode_string(text: str) -> str | None:
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, str) else None


def _split(text: str) -> Iterator[str]:
    """Yield the elements of an array, or the members of an object, undecoded.

    Args:
        text: The array or object, from its opening bracket on.
    """
    depth = 0
    start = 1
    for mark in _MARK.finditer(text):
        bracket = mark[0]
        if bracket in "[{":
            depth += 1
        elif bracket in "]}":
            depth -= 1
        if depth == 0 or (bracket == "," and depth == 1):
            if piece := text[start : mark.start()].strip():
                yield piece
            start = mark.end()
        if depth == 0:
            return
    if piece := text[start:].strip():
        yield piece
