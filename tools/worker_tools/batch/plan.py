"""Splits a file into RunPod batches, and a batch into calls, within RunPod's limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from worker_tools.batch.input_file import Line

CALL_START, CALL_END = b'{"requests":[', b"]}"
REQUEST_START, REQUEST_END = b'{"input":', b"}"

OVERHEAD_BYTES = len(CALL_START) + len(CALL_END) + len(REQUEST_START) + len(REQUEST_END)
"""What a call with one request adds to its line."""


def split_parts(count: int, most: int) -> list[tuple[int, int]]:
    """Return first line and number of lines of each batch."""
    return [(first, min(most, count - first)) for first in range(0, count, most)]


def split_calls(lines: Sequence[Line], most_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield first line and number of lines of each call; the split depends on the lines only."""
    first, size = 0, len(CALL_START) + len(CALL_END)
    for index, line in enumerate(lines):
        # One more byte for the comma.
        more = len(REQUEST_START) + line.size + len(REQUEST_END) + 1
        if index > first and size + more > most_bytes:
            yield first, index - first
            first, size = index, len(CALL_START) + len(CALL_END)
        size += more
    if first < len(lines):
        yield first, len(lines) - first


def build_call(lines: Iterable[bytes]) -> bytes:
    """Return the body that appends these requests."""
    requests = (REQUEST_START + line + REQUEST_END for line in lines)
    return CALL_START + b",".join(requests) + CALL_END
