"""Detect an engine that has died, does not answer, or makes no progress while jobs wait for it.

vLLM's `/health` only reports whether the engine's process has ended. An engine that hangs (a
deadlock between GPUs, a driver that does not return) looks healthy forever. Under load, the
watchdog therefore also reads vLLM's own statistics: every step of the engine changes them. With
several API servers, `worker.engine.heartbeat` detects one that hangs while the others answer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from worker.engine.client import HEALTH_TIMEOUT_S, EngineClient, Health

MAX_POLL_S = 2 * HEALTH_TIMEOUT_S
"""Longer gaps between polls mean that this process was frozen (FlashBoot), together with vLLM;
that time is ignored."""

PROGRESS_POLLS = 10
"""Reads of vLLM's statistics per stall timeout; each costs vLLM some milliseconds."""


@dataclass(frozen=True, slots=True)
class WatchdogLimits:
    """When the worker counts vLLM as hung.

    Attributes:
        silence_s: Maximum time without an answer to a health check, seconds.
        stall_s: Maximum time with running requests and unchanged statistics, seconds.
    """

    silence_s: float = 60.0
    stall_s: float = 300.0


class EngineWatchdog:
    """Checks whether one engine is alive and makes progress.

    Args:
        client: The connections to the engine.
        limits: When the engine counts as hung.
    """

    def __init__(self, client: EngineClient, limits: WatchdogLimits) -> None:
        self._client = client
        self._limits = limits
        self._checked_at = time.monotonic()
        self._silent_s = 0.0
        self._stalled_s = 0.0
        self._next_reading_s = 0.0
        self._statistics: frozenset[str] = frozenset()

    async def check(self) -> str | None:
        """Return the engine's problem in one sentence, None if it has none."""
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
            return await self._check_progress(elapsed_s)
        finally:
            # A server that has just stopped answering cost one time-out here. Together with the
            # next one, the gap would look like a frozen process.
            self._checked_at = time.monotonic()

    def _elapsed_s(self) -> float:
        now = time.monotonic()
        elapsed_s = now - self._checked_at
        self._checked_at = now
        return elapsed_s if elapsed_s < MAX_POLL_S else 0.0

    async def _check_progress(self, elapsed_s: float) -> str | None:
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
        self._next_reading_s = self._stalled_s + self._limits.stall_s / PROGRESS_POLLS
        # Without statistics (`--disable-log-stats`) a stall cannot be detected.
        if statistics and self._stalled_s > self._limits.stall_s:
            return f"vLLM's engine has made no progress for {self._stalled_s:.0f} s"
        return None
