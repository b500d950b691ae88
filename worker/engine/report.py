"""What a start was spent on, phase by phase, from the first moment of the process."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DOWNLOAD = "downloading the weights"
READ = "reading the weights"
COMPILE = "torch.compile"
GRAPHS = "CUDA graphs"

WITHIN: Mapping[str, re.Pattern[str]] = {
    DOWNLOAD: re.compile(r"Time spent downloading weights for .{1,300}: ([\d.]+) seconds"),
    READ: re.compile(r"Loading weights took ([\d.]+) seconds"),
    COMPILE: re.compile(r"torch\.compile took ([\d.]+) s in total"),
    GRAPHS: re.compile(r"Graph capturing finished in ([\d.]+) secs"),
}
"""Parts of loading, and how vLLM's log says what each took (0.32.0)."""

LONG_S: Mapping[str, float] = {DOWNLOAD: 2, READ: 10, COMPILE: 5, GRAPHS: 5}
"""A part that takes longer is worth a word, seconds."""

REMEDIES: Mapping[str, str] = {
    DOWNLOAD: "The weights were downloaded: bake the model into the image, or attach a volume, so "
    "that the next start finds them.",
    READ: "The weights were read slowly: bake the model into the image, or set "
    "SAFETENSORS_LOAD_STRATEGY=eager or LOAD_FORMAT=runai_streamer for a network volume.",
    GRAPHS: "CUDA graphs were captured: fewer sizes in CUDAGRAPH_CAPTURE_SIZES take less, and "
    "STARTUP_PROFILE=fast captures none and answers slower.",
}
COMPILE_ANEW = (
    "The model was compiled, and nothing keeps that: attach a volume or set CACHE_PATH; "
    "STARTUP_PROFILE=fast compiles nothing and answers slower."
)
COMPILE_KEPT = "The model was compiled; the next start finds that in the cache that lasts."
NO_BYTECODE = (
    "vLLM's modules are not compiled to bytecode: run `python -m compileall` on the image's "
    "packages when it is built."
)


class StartReport:
    """Collects when each phase began, what ran beside it, and what would make it shorter.

    Args:
        began_s_ago: Age of the process, seconds.
        keeps_caches: Whether what is compiled now is there at the next start.
        has_bytecode: Whether vLLM's modules are compiled to Python's bytecode.
    """

    def __init__(
        self, began_s_ago: float, *, keeps_caches: bool = False, has_bytecode: bool = True
    ) -> None:
        self._origin = time.monotonic() - began_s_ago
        self._phases: list[tuple[str, float]] = [("interpreter and imports", 0.0)]
        self._beside: dict[str, dict[str, float]] = {}
        self._within: dict[str, float] = {}
        self._keeps_caches = keeps_caches
        self._has_bytecode = has_bytecode

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

    def read(self, line: str) -> None:
        """Note what a line of vLLM's output says that a part of loading took.

        Of several processes, each with a line of its own, the slowest counts.
        """
        for part, pattern in WITHIN.items():
            if found := pattern.search(line):
                self._within[part] = max(float(found[1]), self._within.get(part, 0.0))

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
            "within": self._within,
            "beside": self._beside,
            "shorter": self._remedies(),
        }

    def _remedies(self) -> list[str]:
        remedies = {**REMEDIES, COMPILE: COMPILE_KEPT if self._keeps_caches else COMPILE_ANEW}
        long = [part for part in WITHIN if self._within.get(part, 0.0) > LONG_S[part]]
        missing = [] if self._has_bytecode else [NO_BYTECODE]
        return missing + [remedies[part] for part in long]


def process_age_s() -> float:
    """Return how long this process has existed, seconds, to a hundredth (Linux)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    # Field 22 of the whole line: start after boot in clock ticks.
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started
