"""A heartbeat for each of vLLM's API servers: its event loop touches a file.

Several API servers accept connections at one socket. Any of them answers a health check, which
therefore shows nothing about the others. gunicorn monitors its workers in the same way. A server
that does not serve yet has no file and accepts no connection, and no request waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path

FOLDER = "WORKER_HEARTBEATS"
"""Variable of the engine's environment that has the folder of the files."""

PREFIX = "api-server-"
"""Prefix of each file's name; the server's process id follows."""

BEAT_INTERVAL_S = 1.0

CHECK_INTERVAL_S = 0.5

MAX_CHECK_GAP_S = 5.0
"""A longer gap between two checks means that this process was frozen (FlashBoot), together with the
servers; that time is ignored."""

_beats: set[asyncio.Task[None]] = set()


def begin(folder: Path) -> None:
    """Start to touch this process's file in `folder`; call it in the event loop."""
    path = folder / f"{PREFIX}{os.getpid()}"
    path.touch()
    # An event loop keeps no reference to its tasks.
    _beats.add(asyncio.get_running_loop().create_task(_beat(path)))


async def _beat(path: Path) -> None:
    while True:
        await asyncio.sleep(BEAT_INTERVAL_S)
        # The worker removes its folder before this process ends.
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)


class Heartbeats:
    """The worker's view of the heartbeats of all servers.

    Args:
        folder: Folder of the servers' files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._checked_at = time.monotonic()
        self._beat_ns: dict[str, int] = {}
        self._silent_s: dict[str, float] = {}

    def check(self) -> tuple[str, float]:
        """Return the process id of the longest silent server, and its silence in seconds."""
        now = time.monotonic()
        elapsed_s = now - self._checked_at
        self._checked_at = now
        if elapsed_s > MAX_CHECK_GAP_S:
            elapsed_s = 0.0
        for path in self._folder.glob(f"{PREFIX}*"):
            pid = path.name.removeprefix(PREFIX)
            beat_ns = path.stat().st_mtime_ns
            beats = self._beat_ns.get(pid) != beat_ns
            self._beat_ns[pid] = beat_ns
            self._silent_s[pid] = 0.0 if beats else self._silent_s[pid] + elapsed_s
        return max(self._silent_s.items(), key=lambda item: item[1], default=("", 0.0))


async def wait_silent(folder: Path, limit_s: float) -> str:
    """Wait until a server is silent for longer than `limit_s`; return a message about it."""
    heartbeats = Heartbeats(folder)
    while True:
        await asyncio.sleep(CHECK_INTERVAL_S)
        pid, silent_s = heartbeats.check()
        if silent_s > limit_s + BEAT_INTERVAL_S:
            return f"vLLM's API server with process id {pid} has not responded for {silent_s:.0f} s"
