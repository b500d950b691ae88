"""The command line of the benchmarks."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import uvloop

from benchmarks.first_chunk import describe_first_chunks, measure_first_chunks
from benchmarks.hotspots import profile_worker
from benchmarks.launch import SystemOptions, find_worker, runs_on_gpu, start_systems
from benchmarks.load import Burst
from benchmarks.machine import describe_machine, describe_versions
from benchmarks.measure import Results, measure_bursts
from benchmarks.memory import SPACE, STREAMS, TOKENS, describe_memory, measure_memory
from benchmarks.model import Size
from benchmarks.plan import plan_bursts
from benchmarks.realistic import (
    GPU_LOADS,
    PARTNERS,
    Choice,
    Comparison,
    load_comparison,
    measure_comparison,
)
from benchmarks.realistic_report import describe_comparison
from benchmarks.record import Record, Setting, load_record, save_record
from benchmarks.report import (
    choose_profiled,
    describe_runs,
    describe_targets,
    write_report,
    write_section,
)
from benchmarks.targets import needed_bursts

T = TypeVar("T")


def report(text: str) -> None:
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
    budget_s: Annotated[
        float, typer.Option(help="Seconds from the start on after which no burst begins.")
    ] = 1200,
    cross: Annotated[
        bool, typer.Option(help="All kinds of request at all round trips, not only at the base.")
    ] = False,
    worker_vllm: Annotated[
        Path | None,
        typer.Option(help="Checkout of worker-vllm, to measure it too."),
    ] = None,
    profile: Annotated[
        bool, typer.Option(help="Also show which functions of the worker its time goes to.")
    ] = False,
    write: Annotated[Path | None, typer.Option(help="Markdown file for the report.")] = None,
    section: Annotated[str, typer.Option(help="Its section for this machine.")] = "cpu",
    save: Annotated[Path | None, typer.Option(help="JSON file for the figures.")] = None,
    read: Annotated[
        Path | None, typer.Option("--from", help="Measure nothing: print all figures of this file.")
    ] = None,
    first_chunk: Annotated[
        int, typer.Option(help="Only the first chunk of one job, so many times.")
    ] = 0,
    memory: Annotated[
        bool, typer.Option(help="Only the worker's memory under many long streams.")
    ] = False,
    realistic: Annotated[
        bool, typer.Option(help="Only a model of a real size against `vllm serve`, per token.")
    ] = False,
    size: Annotated[
        Size | None, typer.Option(help="Its parameters; the default is 8b on a GPU, cpu elsewhere.")
    ] = None,
    loads: Annotated[str, typer.Option(help="Requests that each system gets.")] = ",".join(
        GPU_LOADS
    ),
    systems: Annotated[
        str,
        typer.Option(help="What takes turns with `vllm serve`; worker-vllm needs its checkout."),
    ] = "http,queue,engine",
) -> None:
    """Compare the engine alone, this worker and worker-vllm under one local endpoint."""
    if first_chunk:
        body = run_in_order(show_first_chunks(worker_vllm, first_chunk))
        publish(write, f"{section}-first-chunk", body)
        return
    if memory:
        publish(write, f"{section}-memory", run_in_order(show_memory()))
        return
    if realistic:
        if read is not None:
            comparison = load_comparison(read)
        else:
            size = size or ("8b" if runs_on_gpu() else "cpu")
            comparison = Comparison(describe_run(), size, base_rtt_ms)
            partners = choose("--systems", systems, PARTNERS)
            if "worker-vllm" in partners and worker_vllm is None:
                raise typer.BadParameter("--systems: worker-vllm needs --worker-vllm")
            choice = Choice(
                choose("--loads", loads, GPU_LOADS),
                partners,
                rounds,
                time.monotonic() + budget_s,
                worker_vllm,
            )
            compare(comparison, choice, save)
        publish(write, f"{section}-{comparison.size}", describe_comparison(comparison))
        return
    if read is not None:
        record = load_record(read)
        print(describe_runs(record), end="\n\n")
    else:
        setting = make_setting(concurrency, rtt_ms, base_rtt_ms, tokens, cross=cross)
        record = Record(setting, Results())
        options = RunOptions(rounds, time.monotonic() + budget_s, worker_vllm, profile)
        with suppress(asyncio.CancelledError):  # What was measured until then is reported.
            run_in_order(measure(options, record))
    if save is not None:
        save_record(save, record)
    if write is not None:
        write_report(write, section, record)
    print(describe_targets(record.setting, record.results))


def choose(option: str, text: str, known: Iterable[str]) -> list[str]:
    """Return the names in a comma-separated option.

    Raises:
        typer.BadParameter: There is no such name.
    """
    names = text.split(",")
    if unknown := set(names).difference(known):
        raise typer.BadParameter(f"{option}: {', '.join(unknown)}; known are {', '.join(known)}")
    return names


def compare(comparison: Comparison, choice: Choice, save: Path | None) -> None:
    """Measure time per token; `save` is rewritten after each result."""

    def keep() -> None:
        if save is not None:
            comparison.save(save)

    with suppress(asyncio.CancelledError):  # What was measured until then is reported.
        run_in_order(measure_comparison(comparison, choice, keep, report))


def make_setting(
    concurrency: str, rtt_ms: str, base_rtt_ms: float, tokens: int, *, cross: bool
) -> Setting:
    """Return the setting of a measurement from the options of `run`."""
    rtts_ms = [float(part) for part in rtt_ms.split(",")]
    if base_rtt_ms not in rtts_ms:
        base_rtt_ms = rtts_ms[0]
    concurrencies = [int(part) for part in concurrency.split(",")]
    bursts = plan_bursts(concurrencies, rtts_ms, tokens, base_rtt_ms=base_rtt_ms, cross=cross)
    return Setting([], bursts, tokens, base_rtt_ms, describe_run())


def publish(write: Path | None, section: str, body: str) -> None:
    """Print figures, and write them to a file if requested."""
    if write is not None:
        write_section(write, section, body)
    print(body)


def run_in_order(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(end_in_order(work))


async def end_in_order(work: Coroutine[Any, Any, T]) -> T:
    """Await `work`; SIGTERM cancels it, which ends all that it has started."""
    task = asyncio.create_task(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def describe_run() -> dict[str, str]:
    """Return machine, versions, time and command of this measurement."""
    return {
        "machine": describe_machine(gpu=runs_on_gpu()),
        "versions": describe_versions(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": f"`python -m benchmarks {shlex.join(map(shorten, sys.argv[1:]))}`",
    }


def shorten(argument: str) -> str:
    """Return an argument for the report; a path on this machine is reduced to its name."""
    return Path(argument).name if argument.startswith("/") else argument


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of a measurement.

    Attributes:
        rounds: Repetitions of everything.
        deadline_s: Time of `time.monotonic()` after which no burst begins.
        worker_vllm: Checkout of worker-vllm, if it takes part.
        profile: Whether the worker is profiled, after what the targets need.
    """

    rounds: int
    deadline_s: float
    worker_vllm: Path | None
    profile: bool


async def measure(options: RunOptions, record: Record) -> None:
    """Start every system, measure all bursts, and store the results in `record`."""
    setting, results = record.setting, record.results
    needed = needed_bursts(setting.bursts, setting.tokens, setting.base_rtt_ms)
    urgent, rest = (
        [burst for burst in setting.bursts if (burst in needed) is wanted]
        for wanted in (True, False)
    )
    with tempfile.TemporaryDirectory(prefix="profile-") as name:
        folder = Path(name) if options.profile else None
        async with start_systems(SystemOptions(options.worker_vllm, folder), report) as systems:
            setting.systems[:] = [system.name for system in systems]
            timing = (options.rounds, options.deadline_s, results, report)
            await measure_bursts(systems, urgent, *timing)
            if folder is not None:
                profiled = choose_profiled(setting)
                record.profiles[:] = await profile_worker(find_worker(systems), folder, profiled)
            await measure_bursts(systems, rest, *timing)


async def show_first_chunks(worker_vllm: Path | None, repetitions: int) -> str:
    """Measure first chunks and return them as Markdown."""
    async with start_systems(SystemOptions(worker_vllm), report) as systems:
        found = await measure_first_chunks(systems, find_worker(systems), repetitions, report)
    facts = describe_run() | {"repetitions": str(repetitions)}
    return describe_first_chunks(found, facts)


async def show_memory() -> str:
    """Measure the worker's memory and return it as Markdown."""
    async with start_systems(SystemOptions(alone=True, space=SPACE), report) as systems:
        held = await measure_memory(find_worker(systems), Burst(STREAMS, TOKENS), report)
    return describe_memory(held, describe_run())
