"""Which functions of the worker's own process its time goes to."""

from __future__ import annotations

import asyncio
import os
import pstats
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Burst
from benchmarks.systems import Deployed

MOST = 15
"""So many functions are shown."""

WRITE_TIMEOUT_S = 20.0

LIBRARY = re.compile(r"^.*/(?:site-packages|python3\.\d+)/")
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Hotspot:
    """One function.

    Attributes:
        name: Where it is and what it is called.
        calls: How often it was called.
        share: Of the time of all functions, without what it called.
    """

    name: str
    calls: int
    share: float


async def profile_worker(worker: Deployed, path: Path, bursts: Sequence[Burst]) -> list[Hotspot]:
    """Run bursts at a worker that profiles itself and return where its time went.

    Args:
        worker: Started as `benchmarks.profiled_worker`.
        path: The file that it writes.
        bursts: One after the other.

    Raises:
        TimeoutError: It wrote nothing.
    """
    os.kill(worker.pid, signal.SIGUSR1)
    for burst in bursts:
        await worker.run(burst)
    os.kill(worker.pid, signal.SIGUSR2)
    async with asyncio.timeout(WRITE_TIMEOUT_S):
        while not path.exists():
            await asyncio.sleep(0.05)
    return read_hotspots(path)


def read_hotspots(path: Path) -> list[Hotspot]:
    """Return the functions of a profile that took most time by themselves."""
    found = pstats.Stats(str(path)).stats.items()  # type: ignore[attr-defined]
    total_s = sum(own_s for _, (_, _, own_s, _, _) in found)
    spots = [
        Hotspot(name_function(*function), calls, own_s / total_s)
        for function, (_, calls, own_s, _, _) in found
    ]
    return sorted(spots, key=lambda spot: spot.share, reverse=True)[:MOST]


def name_function(file: str, line: int, name: str) -> str:
    """Return a function's name, with its file as it is called within its library."""
    if file == "~":
        return name
    shown = LIBRARY.sub("", file.removeprefix(f"{ROOT}/"))
    return f"{shown}:{line} {name}"
