"""CPU profile of the worker's processes, by library and by function."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Burst
from benchmarks.processes import find_api_servers
from benchmarks.sampler import Samples, read_samples
from benchmarks.systems import Deployed

MAX_HOTSPOTS = 15
"""Functions of each process in the report."""

MIN_SHARE = 0.02
"""Minimum share of a library in the report."""

WRITE_TIMEOUT_S = 20.0

OWN, SERVER = "the worker's own process", "vLLM's API servers"


@dataclass(frozen=True, slots=True)
class Hotspot:
    """One function.

    Attributes:
        name: Module and name of the function.
        own: Its share of the process's time, without the Python functions that it called.
        within: Its share with them.
    """

    name: str
    own: float
    within: float


@dataclass(frozen=True, slots=True)
class Profile:
    """One process, or several of a kind.

    Attributes:
        process: Name of the process.
        samples: How many there are; a kernel takes one at each of its ticks, 1 to 4 ms.
        libraries: The share of each library's functions, largest first.
        hotspots: The functions that took most by themselves, largest first.
    """

    process: str
    samples: int
    libraries: dict[str, float]
    hotspots: list[Hotspot]


async def profile_worker(worker: Deployed, folder: Path, bursts: Sequence[Burst]) -> list[Profile]:
    """Run bursts on a worker with the sampler and return the profile of each process.

    Args:
        worker: Started with `benchmarks.sampler.SITE`.
        folder: Where its processes write.
        bursts: One after the other.

    Raises:
        TimeoutError: One of them wrote nothing.
    """
    processes = {OWN: [worker.pid], SERVER: find_api_servers(worker.pid)}
    pids = list(itertools.chain(*processes.values()))
    for pid in pids:
        os.kill(pid, signal.SIGUSR1)
    for burst in bursts:
        await worker.run(burst)
    for pid in pids:
        os.kill(pid, signal.SIGUSR2)
    files = {pid: folder / f"{pid}.json" for pid in pids}
    async with asyncio.timeout(WRITE_TIMEOUT_S):
        while not all(file.exists() for file in files.values()):
            await asyncio.sleep(0.05)
    return [
        describe(name, add_samples(read_samples(files[pid]) for pid in group))
        for name, group in processes.items()
    ]


def add_samples(found: Iterable[Samples]) -> Samples:
    """Return the sum of the samples of several processes."""
    total = Samples()
    for samples in found:
        total.own.update(samples.own)
        total.within.update(samples.within)
    return total


def describe(process: str, samples: Samples) -> Profile:
    """Return the profile of a process from its samples."""
    total = samples.own.total()
    libraries: Counter[str] = Counter()
    for name, times in samples.own.items():
        libraries[name_library(name)] += times
    return Profile(
        process,
        total,
        {
            name: times / total
            for name, times in libraries.most_common()
            if times >= MIN_SHARE * total
        },
        [
            Hotspot(name, times / total, samples.within[name] / total)
            for name, times in samples.own.most_common(MAX_HOTSPOTS)
        ],
    )


def name_library(function: str) -> str:
    """Return the library of a function named by `benchmarks.sampler.name_function`."""
    return function.partition(":")[0].partition("/")[0].removesuffix(".py")
