"""Memory of the worker with many long streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environment import Space
from benchmarks.load import Burst, make_warm_up
from benchmarks.processes import PEAK, PRESENT, find_tree, is_engine, read_memory_bytes, reset_peaks
from benchmarks.report import describe_facts, make_table
from benchmarks.systems import Deployed

TOKENS = 4000
STREAMS = 300

SPACE = Space(
    model_len=TOKENS + 128,
    gpu_share=0.8,
    gpu_kv_cache_bytes=32 * 1024**3,
    cpu_kv_cache_bytes=1024**3,
)

TIMEOUT_S = 540

AFTER_S = 2.0
"""Time from the last answer to the last measurement."""

MB = 1e6


@dataclass(frozen=True, slots=True)
class Held:
    """Resident memory of a worker in one burst, bytes.

    Attributes:
        burst: The streams.
        idle_bytes: The worker's process before it.
        peak_bytes: Its largest size during it.
        after_bytes: Its size when all was over.
        server_idle_bytes: All processes of vLLM but the engine's, before it.
        server_peak_bytes: Their largest sizes during it.
        posted_bytes: What the worker posted, all bodies together.
        wall_s: From the first request to the last answer, seconds.
    """

    burst: Burst
    idle_bytes: int
    peak_bytes: int
    after_bytes: int
    server_idle_bytes: int
    server_peak_bytes: int
    posted_bytes: int
    wall_s: float


async def measure_memory(worker: Deployed, burst: Burst, report: Callable[[str], None]) -> Held:
    """Measure one burst.

    Args:
        worker: Running and idle.
        burst: The streams.
        report: Shows progress.

    Raises:
        JobError: A stream did not give what was asked for.
        TimeoutError: It took longer than `TIMEOUT_S`.
    """
    await worker.run(make_warm_up(burst))
    await asyncio.sleep(AFTER_S)
    reset_peaks(worker.pid)
    idle, server_idle = read_sizes(worker.pid, PRESENT)
    report(f"{burst.concurrency} streams of {burst.tokens} tokens begin; idle {idle / MB:.0f} MB")
    async with asyncio.timeout(TIMEOUT_S):
        streams = await worker.run(burst)
    peak, server_peak = read_sizes(worker.pid, PEAK)
    await asyncio.sleep(AFTER_S)
    after, _ = read_sizes(worker.pid, PRESENT)
    return Held(
        burst=burst,
        idle_bytes=idle,
        peak_bytes=peak,
        after_bytes=after,
        server_idle_bytes=server_idle,
        server_peak_bytes=server_peak,
        posted_bytes=sum(stream.size_bytes for stream in streams),
        wall_s=max(s.finished_s for s in streams) - min(s.submitted_s for s in streams),
    )


def read_sizes(root: int, kind: str, proc: Path = Path("/proc")) -> tuple[int, int]:
    """Return the size of process `root`, and of its descendants outside the engine."""
    below = [
        read_memory_bytes(proc / str(pid) / "status", kind)
        for pid in find_tree(root, proc) - {root}
        if not is_engine(proc / str(pid))
    ]
    return read_memory_bytes(proc / str(root) / "status", kind), sum(below)


def describe_memory(held: Held, facts: dict[str, str]) -> str:
    """Return the figures as Markdown."""
    burst, growth = held.burst, held.peak_bytes - held.idle_bytes
    rows = [
        ("the worker's process, idle", f"{held.idle_bytes / MB:.1f} MB"),
        ("at its peak", f"{held.peak_bytes / MB:.1f} MB"),
        ("after the last answer", f"{held.after_bytes / MB:.1f} MB"),
        ("peak above idle", f"{growth / MB:.1f} MB"),
        ("the same per stream", f"{growth / burst.concurrency / 1000:.0f} kB"),
        (
            "posted per stream, each chunk and then the whole",
            f"{held.posted_bytes / burst.concurrency / 1000:.0f} kB",
        ),
        ("vLLM's server, idle", f"{held.server_idle_bytes / MB:.1f} MB"),
        ("at its peak", f"{held.server_peak_bytes / MB:.1f} MB"),
    ]
    return "\n\n".join(
        [
            describe_facts(facts),
            f"{burst.concurrency} {burst.shape} streams of {burst.tokens} tokens at once, all done "
            f"after {held.wall_s:.0f} s; resident sizes.",
            make_table(("", ""), rows),
        ]
    )
