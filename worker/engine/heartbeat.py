"""A heartbeat for each of vLLM's API servers: a file that its event loop touches.

Several API servers accept connections at one socket, so a health check is answered by any of them
and says nothing about the others. gunicorn watches its workers in the same way. A server that has
not begun to serve has no file and accepts no connection, so that no request waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path

FOLDER = "WORKER_HEARTBEATS"
"""Variable of the engine's environment that names the folder for the files."""

PREFIX = "api-server-"
"""How the name of each file begins; the server's process id follows."""

BEAT_INTERVAL_S = 1.0

CHECK_INTERVAL_S = 0.5

LONGEST_CHECK_S = 5.0
"""A check comes sooner after the one before. If more time has passed, this process was frozen, as
FlashBoot does it, and the servers with it: that time says nothing about them."""

_beats: set[asyncio.Task[None]] = set()


def begin(folder: Path) -> None:
    """Touch this process's file in `folder` from now on; must be called in its event loop."""
    path = folder / f"{PREFIX}{os.getpid()}"
    path.touch()
    # An event loop keeps no reference to its tasks.
    _beats.add(asyncio.get_running_loop().create_task(_beat(path)))


async def _beat(path: Path) -> None:
    while True:
        await asyncio.sleep(BEAT_INTERVAL_S)
        # At the end of the worker its folder goes first.
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)


class Heartbeats:
    """The worker's side: how long each server has been silent.

    Args:
        folder: Where the servers' files are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._checked_at = time.monotonic()
        self._beat_ns: dict[str, int] = {}
        self._silent_s: dict[str, float] = {}

    def check(self) -> tuple[str, float]:
        """Return the process id of the server that has been silent longest, and the seconds."""
        now = time.monotonic()
        elapsed_s = now - self._checked_at
        self._checked_at = now
        if elapsed_s > LONGEST_CHECK_S:
            elapsed_s = 0.0
        for path in self._folder.glob(f"{PREFIX}*"):
            pid = path.name.removeprefix(PREFIX)
            beat_ns = path.stat().st_mtime_ns
            beats = self._beat_ns.get(pid) != beat_ns
            self._beat_ns[pid] = beat_ns
            self._silent_s[pid] = 0.0 if beats else self._silent_s[pid] + elapsed_s
        return max(self._silent_s.items(), key=lambda item: item[1], default=("", 0.0))


async def wait_silent(folder: Path, limit_s: float) -> str:
    """Wait until one server has been silent for longer than `limit_s`; return which, as text."""
    heartbeats = Heartbeats(folder)
    while True:
        await asyncio.sleep(CHECK_INTERVAL_S)
        pid, silent_s = heartbeats.check()
        if silent_s > limit_s + BEAT_INTERVAL_S:
            return f"vLLM's API server with process id {pid} has not responded for {silent_s:.0f} s"
