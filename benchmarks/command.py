"""The command line: which systems, which load, how long, and where the report goes."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from benchmarks.environment import make_environ
from benchmarks.first_chunk import measure_first_chunks
from benchmarks.model import build_model
from benchmarks.peer import make_peer
from benchmarks.quantile import percentile
from benchmarks.systems import Deployed, EngineAlone, Program, System
from worker.config.hardware import detect_hardware

WORKER_COMMAND = (sys.executable, "-m", "worker", "start")


def say(text: str) -> None:
    """Show progress on stderr."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Run the command."""
    typer.run(run)


def run(
    first_chunk: Annotated[
        int, typer.Option(help="Only the first chunk of one job, so many times.")
    ] = 0,
    peer: Annotated[
        Path | None, typer.Option(help="Checkout of worker-vllm; without it there is no peer.")
    ] = None,
) -> None:
    """Compare the engine alone, this worker and RunPod's worker under one local endpoint."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(show_first_chunks(peer, first_chunk))


async def show_first_chunks(peer: Path | None, repetitions: int) -> None:
    """Measure first chunks and print their medians."""
    async with start_systems(peer) as systems:
        worker = next(s for s in systems if isinstance(s, Deployed) and s.name == "worker")
        found = await measure_first_chunks(systems, worker, repetitions, say)
    print(f"first chunk of one job on an idle system, {repetitions} repetitions, milliseconds")
    print(f"{'':16}{'median':>8}{'p10':>8}{'p90':>8}{'p99':>8}")
    for name, seconds in found.items():
        row = [statistics.median(seconds), *(percentile(seconds, p) for p in (10, 90, 99))]
        print(f"{name:16}" + "".join(f"{value * 1000:8.1f}" for value in row))


@asynccontextmanager
async def start_systems(peer: Path | None) -> AsyncIterator[list[System]]:
    """Start every system, one after the other, and end all of them on leaving."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        directory = Path(name)
        systems = build_systems(directory, peer)
        try:
            for system in systems:
                began_s = time.monotonic()
                await system.start()
                say(f"{system.name} is ready after {time.monotonic() - began_s:.1f} s")
            yield systems
        finally:
            for system in systems:
                await system.stop()


def build_systems(directory: Path, peer: Path | None) -> list[System]:
    """Return the systems, not started.

    Args:
        directory: For the model and for what the systems print.
        peer: Checkout of worker-vllm, if it takes part.
    """
    gpu = detect_hardware(os.environ).has_gpu
    environ = make_environ(os.environ, build_model(directory / "model", gpu=gpu), gpu=gpu)
    systems: list[System] = [
        EngineAlone(environ, directory / "engine.log"),
        Deployed(Program("worker", WORKER_COMMAND, environ), directory / "worker.log"),
    ]
    if peer is not None:
        (shim := directory / "shim").mkdir()
        systems.append(Deployed(make_peer(peer, environ, shim), directory / "peer.log"))
    return systems
