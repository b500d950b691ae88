"""Duration of each phase of a start, measured from the creation of the process."""

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

VLLM_PHASES: Mapping[str, re.Pattern[str]] = {
    DOWNLOAD: re.compile(r"Time spent downloading weights for .{1,300}: ([\d.]+) seconds"),
    READ: re.compile(r"Loading weights took ([\d.]+) seconds"),
    COMPILE: re.compile(r"torch\.compile took ([\d.]+) s in total"),
    GRAPHS: re.compile(r"Graph capturing finished in ([\d.]+) secs"),
}
"""Phases of loading, and the line of vLLM's log that has the duration of each (0.32.0)."""

LOAD = "loading the model and warming up"
"""The phase that `LOAD_STEPS` divides."""

LOAD_STEPS: Mapping[str, re.Pattern[str]] = {
    "starting the engine": re.compile(r"Initializing a V1 LLM engine"),
    "initialising the device": re.compile(r"Loading model from scratch|Starting to load model"),
    "building the model": re.compile(r"Initializing model took"),
    "reading the weights": re.compile(r"Loading weights took"),
    "preparing the weights": re.compile(r"Model loading took"),
    "compiling, or loading compiled code": VLLM_PHASES[COMPILE],
    "measuring memory": re.compile(r"KV cache size: [\d,]+ tokens"),
    "compiling kernels and capturing CUDA graphs": VLLM_PHASES[GRAPHS],
    "warming up": re.compile(r"init engine \(profile"),
}
"""Steps of loading, and the line of vLLM's log that ends each (0.32.0)."""
SERVERS_STEP = "starting the API servers"
"""The step after the last of them."""

SLOW_S: Mapping[str, float] = {DOWNLOAD: 2, READ: 10, COMPILE: 5, GRAPHS: 5}
"""A phase that takes longer gets a suggestion, seconds."""

SUGGESTIONS: Mapping[str, str] = {
    DOWNLOAD: "The weights were downloaded: bake the model into the image, or attach a volume to "
    "keep them.",
    READ: "The weights were read slowly: bake the model into the image. A "
    "network volume delays every start by what its bandwidth takes beyond the import.",
    GRAPHS: "Capturing CUDA graphs took long: set fewer sizes in CUDAGRAPH_CAPTURE_SIZES, or "
    "STARTUP_PROFILE=fast, which captures nine.",
}
COMPILE_NOT_CACHED = (
    "The model was compiled and the code is not cached: attach a volume or set CACHE_PATH; "
    "STARTUP_PROFILE=fast compiles nothing and decodes a little slower."
)
COMPILE_CACHED = "The model was compiled; the next start uses the cached code."
NO_BYTECODE = (
    "vLLM's modules are not compiled to bytecode: run `python -m compileall` on the image's "
    "packages when it is built."
)


class StartupTimings:
    """Records the phases of a start and its background tasks; suggests how to shorten it.

    Args:
        began_s_ago: Age of the process, seconds.
        keeps_caches: Whether the next start finds the code that is compiled now.
        has_bytecode: Whether vLLM's modules are compiled to Python's bytecode.
        usd_per_s: Price of the GPUs, US dollars per second; None if it is not known.
    """

    def __init__(
        self,
        began_s_ago: float,
        *,
        keeps_caches: bool = False,
        has_bytecode: bool = True,
        usd_per_s: float | None = None,
    ) -> None:
        self._origin = time.monotonic() - began_s_ago
        self._phases: list[tuple[str, float]] = [("interpreter and imports", 0.0)]
        self._background: dict[str, dict[str, float]] = {}
        self._vllm_phases: dict[str, float] = {}
        self._step_ends: dict[str, float] = {}
        self._keeps_caches = keeps_caches
        self._has_bytecode = has_bytecode
        self._usd_per_s = usd_per_s

    def start_phase(self, phase: str) -> None:
        """End the current phase and start the next one, unless it is the same.

        Each of vLLM's API servers reports the phase that it finds.
        """
        if phase != self._phases[-1][0]:
            self._phases.append((phase, time.monotonic() - self._origin))

    def record_background(self, work: str, began: float, **figures: float) -> None:
        """Record a background task that has ended.

        Args:
            work: Name of the task.
            began: `time.monotonic` at its start.
            **figures: Its results, e.g. bytes.
        """
        now = time.monotonic()
        self._background[work] = {
            "from_s": round(began - self._origin, 2),
            "seconds": round(now - began, 2),
            **figures,
        }

    def read_line(self, line: str) -> None:
        """Record the duration of a phase of loading if a line of vLLM's output has one.

        If several processes print the line, the slowest counts; of a step, the last one does.
        """
        for step, pattern in LOAD_STEPS.items():
            if pattern.search(line):
                self._step_ends[step] = time.monotonic() - self._origin
        for phase, pattern in VLLM_PHASES.items():
            if found := pattern.search(line):
                self._vllm_phases[phase] = max(float(found[1]), self._vllm_phases.get(phase, 0.0))

    def to_dict(self) -> dict[str, Any]:
        """Return all durations in seconds; the last phase ends now."""
        ends = [*(at for _name, at in self._phases[1:]), time.monotonic() - self._origin]
        phases = {
            name: round(end - at, 2)
            for (name, at), end in zip(self._phases, ends, strict=True)
            if end - at >= 0.005 or name != self._phases[-1][0]
        }
        return {
            "event": "ready",
            "seconds": round(ends[-1], 2),
            **self._price(ends[-1]),
            "phases": phases,
            "load_steps": self._load_steps(ends[-1]),
            "vllm_phases": self._vllm_phases,
            "background": self._background,
            "suggestions": self._suggestions(),
        }

    def _price(self, seconds: float) -> dict[str, float]:
        return {} if self._usd_per_s is None else {"usd": round(seconds * self._usd_per_s, 4)}

    def _load_steps(self, now: float) -> dict[str, float]:
        """Return the duration of each step of loading; they add up to the phase."""
        starts = dict(reversed(self._phases))
        if LOAD not in starts or not self._step_ends:
            return {}
        names = [name for name, _at in self._phases]
        following = names.index(LOAD) + 1
        end = self._phases[following][1] if following < len(names) else now
        steps, at = {}, starts[LOAD]
        for step, ended in sorted(self._step_ends.items(), key=lambda item: item[1]):
            steps[step] = round(max(0.0, ended - at), 2)
            at = max(at, ended)
        return {**steps, SERVERS_STEP: round(max(0.0, end - at), 2)}

    def _suggestions(self) -> list[str]:
        suggestions = {
            **SUGGESTIONS,
            COMPILE: COMPILE_CACHED if self._keeps_caches else COMPILE_NOT_CACHED,
        }
        slow = [name for name in VLLM_PHASES if self._vllm_phases.get(name, 0.0) > SLOW_S[name]]
        missing = [] if self._has_bytecode else [NO_BYTECODE]
        return missing + [suggestions[name] for name in slow]


def process_age_s() -> float:
    """Return the age of this process in seconds, to a hundredth (Linux)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    # Field 22 of the whole line: start after boot in clock ticks.
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started
