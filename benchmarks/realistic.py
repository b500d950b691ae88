"""A model of realistic size, measured per token with the client of `vllm bench serve`."""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from benchmarks.client import FIGURES, Load, LoadError, import_client
from benchmarks.environment import Space, make_environ
from benchmarks.launch import runs_on_gpu
from benchmarks.measure import wait_quiet
from benchmarks.model import Size, build_sized_model
from benchmarks.served import (
    CONTROL,
    ENGINE,
    HTTP,
    QUEUE,
    SERVE,
    WORKER_VLLM,
    Server,
    make_services,
)
from benchmarks.systems import EndedError

Say = Callable[[str], None]

SPACE = Space(
    model_len=2048,
    gpu_share=0.46,
    gpu_kv_cache_bytes=16 * 1024**3,
    cpu_kv_cache_bytes=512 * 1024**2,
)
"""Limits for two engines on a GPU with 80 GB, with weights of 16 GB each."""

MARGIN_S = 6.0
"""Time assumed for a load in addition to its arrivals, until it is measured."""

PARTNERS = {
    "http": HTTP,
    "queue": QUEUE,
    "engine": ENGINE,
    "control": CONTROL,
    "worker-vllm": WORKER_VLLM,
}
"""What takes turns with `vllm serve`, by the name on the command line; in this order."""

GPU_LOADS = {
    "completions": Load("completion", 200, 20, 512, 128),
    "chats": Load("chat", 200, 20, 512, 128),
    "burst": Load("completion", 300, None, 512, 128),
}
CPU_LOADS = {
    "completions": Load("completion", 20, 1, 64, 48),
    "chats": Load("chat", 20, 1, 64, 48),
    "burst": Load("completion", 8, None, 64, 48),
}


@dataclass(frozen=True, slots=True)
class Timing:
    """Measurements of vLLM's client on one system under one load; times in milliseconds.

    Attributes:
        system: Its name.
        pair: The system that took turns with `vllm serve`.
        load: What was asked.
        figures: Names as of `FIGURES` -> what was measured.
    """

    system: str
    pair: str
    load: Load
    figures: dict[str, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Measurements of several systems in turn.

    Attributes:
        facts: Label -> text, of machine, versions, date and command.
        size: Of the model.
        rtt_ms: Round trip of the queue mode.
        timings: What was measured, in order.
        failures: What could not be measured, and why.
    """

    facts: dict[str, str]
    size: Size
    rtt_ms: float
    timings: list[Timing] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def rounds(self, system: str, pair: str, load: Load) -> list[dict[str, float]]:
        """Return the figures of each round."""
        wanted = (system, pair, load)
        return [t.figures for t in self.timings if (t.system, t.pair, t.load) == wanted]

    def median(self, system: str, pair: str, load: Load) -> dict[str, float] | None:
        """Return the medians of all rounds, None without any."""
        found = self.rounds(system, pair, load)
        return {n: statistics.median(one[n] for one in found) for n in FIGURES} if found else None

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_bytes(TypeAdapter(Comparison).dump_json(self, indent=2))


def load_comparison(path: Path) -> Comparison:
    """Read what `Comparison.save` has written."""
    return TypeAdapter(Comparison).validate_json(path.read_bytes())


@dataclass(slots=True)
class Turns:
    """Systems that are measured in turn under the same loads.

    Attributes:
        comparison: Gets what is measured.
        loads: What is asked in each round.
        rounds: How many of them at most.
        model: Folder of the model.
        keep: Called after each result.
        report: Shows progress.
    """

    comparison: Comparison
    loads: Sequence[Load]
    rounds: int
    model: Path
    keep: Callable[[], None]
    report: Say
    seeds: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    took_s: dict[Load, float] = field(default_factory=dict)

    async def take(self, ours: Server, serve: Server, deadline_s: float) -> None:
        """Measure until all rounds are done, or until the next load could end too late.

        Both get the same prompts, and none twice: its prefix cache would answer them.
        """
        warm_up = Load("completion", min(64, self.loads[-1].requests), None, 64, 16)
        seed = next(self.seeds)
        for server in (ours, serve):
            await server.ask(self.model, warm_up, seed)
        pairs = ((ours, serve), (serve, ours))
        for number, load in itertools.product(range(self.rounds), self.loads):
            guess_s = load.requests / (load.rate or 50) + MARGIN_S
            if time.monotonic() + 2 * self.took_s.get(load, guess_s) > deadline_s:
                self.fail(f"{ours.name}, {load}: no time was left")
                continue
            seed = next(self.seeds)
            order = pairs[(number + self.loads.index(load)) % 2]
            for server, other in zip(order, reversed(order), strict=True):
                await wait_quiet([other])
                await self._measure(server, ours.name, load, seed)

    async def _measure(self, server: Server, pair: str, load: Load, seed: int) -> None:
        began_s = time.monotonic()
        try:
            figures = await server.ask(self.model, load, seed)
        except (LoadError, OSError, ValueError) as error:
            self.fail(f"{server.name}, {load}: {error}")
        else:
            self.comparison.timings.append(Timing(server.name, pair, load, figures))
            shown = ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
            self.report(f"{server.name}, {load}: {shown}")
        self.took_s[load] = time.monotonic() - began_s
        self.keep()

    def fail(self, failure: str) -> None:
        """Note what was not measured, and why."""
        self.comparison.failures.append(failure)
        self.report(f"not measured: {failure}")
        self.keep()


@dataclass(frozen=True, slots=True)
class Choice:
    """What is measured, and for how long.

    Attributes:
        loads: Names of loads.
        partners: Names of systems, the keys of `PARTNERS`.
        rounds: Repetitions of all loads, at most.
        deadline_s: Time of `time.monotonic()` at which no load should run any more.
        worker_vllm: Checkout of worker-vllm, if it takes part.
    """

    loads: Sequence[str]
    partners: Sequence[str]
    rounds: int
    deadline_s: float
    worker_vllm: Path | None = None


async def measure_comparison(
    comparison: Comparison, choice: Choice, keep: Callable[[], None], report: Say
) -> None:
    """Measure systems alternately with `vllm serve`, and store the results in `comparison`.

    Two engines fit on a GPU at a time. `vllm serve` stays, and the others take turns in the place
    next to it. The first start compiles, and all others take what it has compiled: two compilations
    of the same model can differ by a sixth in time per token.

    Args:
        comparison: Gets what is measured.
        choice: What is measured.
        keep: Called after each result.
        report: Shows progress.
    """
    gpu = runs_on_gpu()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        model = build_sized_model(folder / "model", comparison.size, max_model_len=SPACE.model_len)
        environ = make_environ(os.environ, model, SPACE, gpu=gpu) | share_caches(folder)
        services = make_services(environ, folder, comparison.rtt_ms, choice.worker_vllm)
        known = GPU_LOADS if gpu else CPU_LOADS
        loads = [known[one] for one in choice.loads]
        turns = Turns(comparison, loads, choice.rounds, model, keep, report)
        serve = Server(services[SERVE], folder / "serve.log")
        # The first load would wait for it, half a minute on two cores.
        imported = asyncio.create_task(asyncio.to_thread(import_client))
        try:
            for place, one in enumerate(choice.partners):
                ours = Server(services[PARTNERS[one]], folder / f"{one}.log")
                try:
                    report(f"{ours.name} is ready after {await ours.start():.1f} s")
                    if place == 0:
                        report(f"{SERVE} is ready after {await serve.start():.1f} s")
                    await imported
                    now_s = time.monotonic()
                    share_s = (choice.deadline_s - now_s) / (len(choice.partners) - place)
                    await turns.take(ours, serve, now_s + share_s)
                except EndedError as error:
                    if place == 0:
                        raise
                    report(str(error))
                    turns.fail(f"{ours.name}: it did not start")
                finally:
                    await ours.stop()
        finally:
            await serve.stop()


def share_caches(directory: Path) -> dict[str, str]:
    """Return the variables with which all systems use the compile cache of the first one."""
    return {
        "VLLM_CACHE_ROOT": str(directory / "cache" / "vllm"),
        "TRITON_CACHE_DIR": str(directory / "cache" / "triton"),
        # It keeps what the first engine measured, which has the GPU for itself.
        "VLLM_ENABLE_STARTUP_PLAN": "0",
    }
