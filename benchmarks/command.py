"""The command line: which systems, which load, how long, and where the report goes."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import uvloop

from benchmarks.environment import make_environ
from benchmarks.first_chunk import measure_first_chunks
from benchmarks.load import Burst
from benchmarks.machine import describe_machine, describe_versions
from benchmarks.measure import Results, measure_bursts
from benchmarks.model import build_model
from benchmarks.peer import make_peer
from benchmarks.plan import plan_bursts
from benchmarks.quantile import percentile
from benchmarks.report import Setting, describe_targets, find_targets, write_report
from benchmarks.systems import Deployed, EngineAlone, Program, System
from worker.config.hardware import detect_hardware

T = TypeVar("T")

WORKER_COMMAND = (sys.executable, "-m", "worker", "start")


def say(text: str) -> None:
    """Show progress on stderr."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Run the command."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(run)
    app()


def run(  # noqa: PLR0913  one parameter per option
    concurrency: Annotated[str, typer.Option(help="Requests at once.")] = "1,8,32,128,300",
    rtt_ms: Annotated[
        str, typer.Option(help="Round trips to the platform, milliseconds.")
    ] = "0,20,50,100",
    base_rtt_ms: Annotated[
        float, typer.Option(help="The one of them at which everything is measured.")
    ] = 20,
    tokens: Annotated[int, typer.Option(min=2, help="Tokens of each request.")] = 128,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions of everything.")] = 3,
    budget_s: Annotated[float, typer.Option(help="After so long, nothing begins.")] = 1200,
    cross: Annotated[
        bool, typer.Option(help="All kinds of request at all round trips, not only at the base.")
    ] = False,
    peer: Annotated[
        Path | None, typer.Option(help="Checkout of worker-vllm; without it there is no peer.")
    ] = None,
    write: Annotated[Path | None, typer.Option(help="Markdown file for the report.")] = None,
    section: Annotated[str, typer.Option(help="Its section for this machine.")] = "cpu",
    first_chunk: Annotated[
        int, typer.Option(help="Only the first chunk of one job, so many times.")
    ] = 0,
) -> None:
    """Compare the engine alone, this worker and RunPod's worker under one local endpoint."""
    rtts_ms = [float(part) for part in rtt_ms.split(",")]
    if base_rtt_ms not in rtts_ms:
        base_rtt_ms = rtts_ms[0]
    bursts = plan_bursts(
        [int(part) for part in concurrency.split(",")],
        rtts_ms,
        tokens,
        base_rtt_ms=base_rtt_ms,
        cross=cross,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if first_chunk:
            runner.run(end_in_order(show_first_chunks(peer, first_chunk)))
            return
        names, results = runner.run(end_in_order(measure(peer, bursts, rounds, budget_s)))
    setting = Setting(names, bursts, tokens, base_rtt_ms, describe_run())
    if write is not None:
        write_report(write, section, setting, results)
    print(describe_targets(find_targets(setting, results)))


async def end_in_order(work: Coroutine[Any, Any, T]) -> T:
    """Await `work`; SIGTERM cancels it, so that everything that it has started ends."""
    task = asyncio.create_task(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def describe_run() -> dict[str, str]:
    """Return with what, when and how this is measured."""
    return {
        "machine": describe_machine(gpu=detect_hardware(os.environ).has_gpu),
        "versions": describe_versions(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": f"`python -m benchmarks {shlex.join(map(shorten, sys.argv[1:]))}`",
    }


def shorten(argument: str) -> str:
    """Return an argument as the report shows it: of a path on this machine only the name."""
    return Path(argument).name if argument.startswith("/") else argument


async def measure(
    peer: Path | None, bursts: list[Burst], rounds: int, budget_s: float
) -> tuple[list[str], Results]:
    """Start every system, measure all bursts, end; return the systems' names and the figures."""
    async with start_systems(peer) as systems:
        results = await measure_bursts(systems, bursts, rounds, budget_s, say)
        return [system.name for system in systems], results


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
