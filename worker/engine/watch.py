"""Notice an engine that has died, does not answer, or makes no progress while jobs wait for it.

vLLM's `/health` only says whether the engine's process has ended. An engine that stands still (a
deadlock between GPUs, a driver that does not return) looks healthy to it for ever, so under load
vLLM's own statistics are watched as well: every step of the engine changes them, an engine that
stands still changes nothing. Where there are several API servers, `worker.engine.heartbeat` notices
one that hangs while the others answer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from worker.engine.client import HEALTH_TIMEOUT_S, EngineClient, Health

LONGEST_LOOK_S = 2 * HEALTH_TIMEOUT_S
"""A look takes less. If more has passed since the one before, this process was frozen, as FlashBoot
does it, and vLLM with it: that time says nothing about vLLM."""

LOOKS_AT_PROGRESS = 10
"""So often within the stall limit vLLM's statistics are read; each costs it some milliseconds."""


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """How patient the worker is with vLLM.

    Attributes:
        silence_s: Longest time without an answer to a health check, seconds.
        stall_s: Longest time with requests under way and no change in the statistics, seconds.
    """

    silence_s: float = 60.0
    stall_s: float = 300.0


class Watch:
    """Looks at one engine from time to time.

    Args:
        client: The connections to it.
        limits: When it counts as hung.
    """

    def __init__(self, client: EngineClient, limits: WatchLimits) -> None:
        self._client = client
        self._limits = limits
        self._looked_at = time.monotonic()
        self._silent_s = 0.0
        self._stalled_s = 0.0
        self._next_reading_s = 0.0
        self._statistics: frozenset[str] = frozenset()

    async def look(self) -> str | None:
        """Return what is wrong with the engine in one sentence, None if nothing is."""
        health = await self._client.check_health()
        elapsed_s = self._elapsed_s()
        if health is Health.DEAD:
            return "vLLM's engine process died"
        if health is Health.SILENT:
            self._silent_s += elapsed_s
            if self._silent_s > self._limits.silence_s:
                return f"vLLM has not answered for {self._silent_s:.0f} s"
            return None
        self._silent_s = 0.0
        try:
            return await self._look_at_progress(elapsed_s)
        finally:
            # A server that stops answering just now has cost a time-out here already; with the
            # next one the look would seem as long as if this process had been frozen.
            self._looked_at = time.monotonic()

    def _elapsed_s(self) -> float:
        now = time.monotonic()
        elapsed_s = now - self._looked_at
        self._looked_at = now
        return elapsed_s if elapsed_s < LONGEST_LOOK_S else 0.0

    async def _look_at_progress(self, elapsed_s: float) -> str | None:
        if not self._client.active:
            self._stalled_s = self._next_reading_s = 0.0
            return None
        self._stalled_s += elapsed_s
        if self._stalled_s < self._next_reading_s:
            return None
        statistics = await self._client.read_statistics()
        if statistics != self._statistics:
            self._statistics = statistics
            self._stalled_s = 0.0
        self._next_reading_s = self._stalled_s + self._limits.stall_s / LOOKS_AT_PROGRESS
        # Without statistics (`--disable-log-stats`) nothing can be said.
        if statistics and self._stalled_s > self._limits.stall_s:
            return f"vLLM's engine has made no progress for {self._stalled_s:.0f} s"
        return None
