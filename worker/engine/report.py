"""What a start was spent on, phase by phase, from the first moment of the process."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any


class StartReport:
    """Collects when each phase began and what ran beside it.

    Args:
        began_s_ago: Age of the process, seconds.
    """

    def __init__(self, began_s_ago: float) -> None:
        self._origin = time.monotonic() - began_s_ago
        self._phases: list[tuple[str, float]] = [("interpreter and imports", 0.0)]
        self._beside: dict[str, dict[str, float]] = {}

    def begin(self, phase: str) -> None:
        """Note that a phase begins now, and that the one before has ended."""
        self._phases.append((phase, time.monotonic() - self._origin))

    def beside(self, work: str, began: float, **figures: float) -> None:
        """Note what ran while something else was waited for.

        Args:
            work: What it was.
            began: `time.monotonic` at its begin.
            **figures: What it came to, e.g. bytes.
        """
        now = time.monotonic()
        self._beside[work] = {
            "from_s": round(began - self._origin, 2),
            "seconds": round(now - began, 2),
            **figures,
        }

    def data(self) -> dict[str, Any]:
        """Return the phases with their lengths in seconds; the last one has begun just now."""
        ends = [*(at for _name, at in self._phases[1:]), time.monotonic() - self._origin]
        phases = {
            name: round(end - at, 2)
            for (name, at), end in zip(self._phases, ends, strict=True)
            if end - at >= 0.005 or name != self._phases[-1][0]
        }
        return {
            "event": "ready",
            "seconds": round(ends[-1], 2),
            "phases": phases,
            "beside": self._beside,
        }


def process_age_s() -> float:
    """Return how long this process has existed, seconds, to a hundredth (Linux)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    # Field 22 of the whole line: start after boot in clock ticks.
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started
