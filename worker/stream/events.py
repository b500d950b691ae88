"""Cut a byte stream of server-sent events between events, never inside one."""

from __future__ import annotations

EVENT_END = b"\n\n"
"""vLLM ends every event with an empty line (`data: {...}\\n\\n`)."""

MAX_PIECE_BYTES = 1_000_000
"""RunPod cuts a larger piece of a stream, wherever that is."""


class EventBuffer:
    """Collects bytes as they arrive and gives back whole events.

    An event is never split, and so neither is a character of several bytes.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._rest = b""
        self.count = 0
        """Whole events that wait to be taken."""
        self.size = 0
        """Bytes of those events."""

    def feed(self, data: bytes) -> None:
        """Add what has arrived."""
        data = self._rest + data
        end = data.rfind(EVENT_END) + len(EVENT_END)
        if end < len(EVENT_END):
            self._rest = data
            return
        self._rest = data[end:]
        whole = data[:end]
        self._pieces.append(whole)
        self.count += whole.count(EVENT_END)
        self.size += len(whole)

    def take(self, limit: int = MAX_PIECE_BYTES) -> bytes:
        """Return whole events as they came, one after the other, and forget them.

        Args:
            limit: Most bytes; what is beyond waits for the next call. An event that is larger by
                itself is returned alone.
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
        return self._rest


def split_events(data: bytes) -> list[bytes]:
    """Split whole events into single ones, each with its empty line."""
    return [event + EVENT_END for event in data.split(EVENT_END) if event]
