"""Cut a byte stream of server-sent events between events, never inside one."""

from __future__ import annotations

from worker.errors import RequestError
from worker.request.codes import Code, request_error
from worker.request.engine_request import MAX_BODY_BYTES

EVENT_END = b"\n\n"
"""vLLM ends every event with an empty line (`data: {...}\\n\\n`)."""

MAX_CHUNK_BYTES = 1_000_000
"""RunPod cuts larger chunks of a stream at an arbitrary byte."""


class EventBuffer:
    """Collects bytes as they arrive and returns whole events.

    Events are never split, and neither are multi-byte characters.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._rest: list[bytes] = []
        self._rest_size = 0
        self.count = 0
        """Whole events in the buffer."""
        self.size = 0
        """Bytes of those events."""

    def feed(self, data: bytes) -> None:
        """Add received bytes.

        Raises:
            RequestError: An event is larger than the platform delivers.
        """
        # The end mark may be split between two reads, therefore the last byte is searched again.
        # Searching the whole rest would make the cost of a large event quadratic.
        last = self._rest[-1][-1:] if self._rest else b""
        found = (last + data).rfind(EVENT_END)
        if found < 0:
            self._rest += [data] if data else []
            self._rest_size += len(data)
            if self._rest_size > MAX_BODY_BYTES:
                raise too_large()
            return
        end = found + len(EVENT_END) - len(last)
        whole = b"".join([*self._rest, data[:end]])
        rest = data[end:]
        self._rest = [rest] if rest else []
        self._rest_size = len(rest)
        self._pieces.append(whole)
        self.count += whole.count(EVENT_END)
        self.size += len(whole)

    def pop(self, limit: int = MAX_CHUNK_BYTES) -> bytes:
        """Remove whole events from the buffer and return them in order.

        Args:
            limit: Maximum size, bytes; the rest is left for the next call. A single larger event is
                returned alone.
        """
        taken = b"".join(self._pieces)
        self._pieces.clear()
        if len(taken) > limit:
            end = taken.rfind(EVENT_END, 0, limit)
            end = (end if end >= 0 else taken.find(EVENT_END)) + len(EVENT_END)
            self._pieces = [rest] if (rest := taken[end:]) else []
            taken = taken[:end]
        self.count -= taken.count(EVENT_END)
        self.size -= len(taken)
        return taken

    @property
    def rest(self) -> bytes:
        """The beginning of an event whose end has not arrived."""
        return b"".join(self._rest)


def too_large() -> RequestError:
    """Return the error for an answer of vLLM above `MAX_BODY_BYTES`."""
    return request_error(
        Code.RESULT_TOO_LARGE,
        f"vLLM's answer has more than {MAX_BODY_BYTES} bytes. Ask for fewer tokens, choices or "
        "log-probabilities.",
    )


def split_events(data: bytes) -> list[bytes]:
    """Split whole events into single ones, each with its empty line."""
    return [event + EVENT_END for event in data.split(EVENT_END) if event]
