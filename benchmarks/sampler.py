"""Sampling profiler: records the running function at equal steps of CPU time.

`SITE` in a file `sitecustomize.py` on PYTHONPATH installs it in every Python process. It costs
nothing until SIGUSR1; at SIGUSR2 what was found is in the folder, as `PID.json`.

Of ready profilers, cProfile burdens each call, and from Python 3.12 on every thread's; py-spy reads
from outside, where a compiled event loop's last function appears to run while the process waits.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType

import orjson

INTERVAL_S = 0.001
"""CPU time of all threads between two samples; a kernel may use larger steps."""

ROOT = Path(__file__).parent.parent

SITE = """\
import sys

sys.path.append({root!r})
from benchmarks.sampler import install

install({folder!r})
"""


@dataclass(slots=True)
class Samples:
    """Number of samples by function.

    Attributes:
        own: Being what ran; what is compiled counts as the Python function that called it.
        within: On the stack, once per sample.
    """

    own: Counter[str] = field(default_factory=Counter)
    within: Counter[str] = field(default_factory=Counter)


class Sampler:
    """Samples this process's main thread.

    Args:
        path: Where the samples are written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._own: Counter[CodeType] = Counter()
        self._within: Counter[CodeType] = Counter()

    def begin(self) -> None:
        """Start sampling."""
        signal.signal(signal.SIGPROF, lambda _signal, frame: self.take(frame))
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)

    def take(self, frame: FrameType | None) -> None:
        """Count one sample, whose innermost frame is given."""
        stack = []
        while frame is not None:
            stack.append(frame.f_code)
            frame = frame.f_back
        self._own.update(stack[:1])
        self._within.update(set(stack))

    def end(self) -> None:
        """Stop sampling and write the file atomically."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        content = {"own": _name_all(self._own), "within": _name_all(self._within)}
        unfinished = self._path.with_suffix(".part")
        unfinished.write_bytes(orjson.dumps(content))
        unfinished.replace(self._path)


def install(folder: str) -> None:
    """Start and stop the sampler on signals.

    The file is named by the process that ends the sampling: one forked from here has its own.
    """
    running: list[Sampler] = []

    def begin(*_: object) -> None:
        running.append(Sampler(Path(folder, f"{os.getpid()}.json")))
        running[-1].begin()

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, lambda *_: running.pop().end())


def read_samples(path: Path) -> Samples:
    """Read what `Sampler.end` has written."""
    content = orjson.loads(path.read_bytes())
    return Samples(Counter(content["own"]), Counter(content["within"]))


def name_function(code: CodeType) -> str:
    """Return a function's name, with its file relative to the import path."""
    folders = sorted({f"{folder}/" for folder in [*sys.path, str(ROOT)]}, key=len, reverse=True)
    inside = next((len(folder) for folder in folders if code.co_filename.startswith(folder)), 0)
    return f"{code.co_filename[inside:]}:{code.co_firstlineno} {code.co_qualname}"


def _name_all(found: Counter[CodeType]) -> Counter[str]:
    named: Counter[str] = Counter()
    for code, times in found.items():
        named[name_function(code)] += times
    return named
