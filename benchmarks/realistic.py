"""A model of realistic size, measured per token with the client of `vllm bench serve`."""

from __future__ import annotations

import io
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from benchmarks.environment import MODEL, Space, make_environ
from benchmarks.launch import runs_on_gpu
from benchmarks.load import ROUTES, Shape
from benchmarks.measure import wait_quiet
from benchmarks.model import Size, build_sized_model
from benchmarks.served import HTTP, QUEUE, SERVE, Server, make_services

Say = Callable[[str], None]

SPACE = Space(
    model_len=2048,
    gpu_share=0.46,
    gpu_kv_cache_bytes=16 * 1024**3,
    cpu_kv_cache_bytes=512 * 1024**2,
)
"""Limits for two engines on a GPU with 80 GB, with weights of 16 GB each."""

BACKENDS: dict[Shape, str] = {"chat": "openai-chat", "completion": "openai"}

FIGURES = {
    "tokens_per_s": "output_throughput",
    "ttft_p50_ms": "p50_ttft_ms",
    "ttft_p99_ms": "p99_ttft_ms",
    "tpot_p50_ms": "p50_tpot_ms",
    "tpot_p99_ms": "p99_tpot_ms",
    "itl_p50_ms": "p50_itl_ms",
    "itl_p99_ms": "p99_itl_ms",
    "end_p99_ms": "p99_e2el_ms",
}
"""Our name of a figure -> its name in vLLM's client."""

MARGIN_S = 6.0
"""Time assumed for a load beside its arrivals, until it is measured."""


@dataclass(frozen=True, slots=True)
class Load:
    """Requests with random prompts, all streamed.

    Attributes:
        shape: Which of OpenAI's routes is asked.
        requests: How many.
        rate: Mean arrivals per second, random; None for all at once.
        prompt_tokens: Tokens of each prompt.
        tokens: Tokens of each answer.
    """

    shape: Shape
    requests: int
    rate: float | None
    prompt_tokens: int
    tokens: int

    def __str__(self) -> str:
        """Return the name for tables."""
        when = "at once" if self.rate is None else f"at {self.rate:g} per s"
        return f"{self.requests} {self.shape}s {when}"


GPU_LOADS = (
    Load("completion", 200, 20, 512, 128),
    Load("chat", 200, 20, 512, 128),
    Load("completion", 300, None, 512, 128),
)
CPU_LOADS = (
    Load("completion", 20, 1, 64, 48),
    Load("chat", 20, 1, 64, 48),
    Load("completion", 8, None, 64, 48),
)


@dataclass(frozen=True, slots=True)
class Timing:
    """Measurements of vLLM's client on one system under one load; times in milliseconds.

    Attributes:
        system: Its name.
        pair: The worker's mode that took turns with `vllm serve`.
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


class LoadError(Exception):
    """A system did not answer all requests."""


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
            await ask(server.url, self.model, warm_up, seed)
        pairs = ((ours, serve), (serve, ours))
        for number, load in itertools.product(range(self.rounds), self.loads):
            guess_s = load.requests / (load.rate or 50) + MARGIN_S
            if time.monotonic() + 2 * self.took_s.get(load, guess_s) > deadline_s:
                self.report(f"no time for {load}, {ours.name} beside {serve.name}")
                continue
            seed = next(self.seeds)
            order = pairs[(number + self.loads.index(load)) % 2]
            for server, other in zip(order, reversed(order), strict=True):
                await wait_quiet([other])
                await self._measure(server, ours.name, load, seed)

    async def _measure(self, server: Server, pair: str, load: Load, seed: int) -> None:
        began_s = time.monotonic()
        try:
            figures = await ask(server.url, self.model, load, seed)
        except (LoadError, OSError, ValueError) as error:
            self.comparison.failures.append(f"{server.name}, {load}: {error}")
            self.report(self.comparison.failures[-1])
        else:
            self.comparison.timings.append(Timing(server.name, pair, load, figures))
            shown = ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
            self.report(f"{server.name}, {load}: {shown}")
        self.took_s[load] = time.monotonic() - began_s
        self.keep()


async def measure_comparison(
    comparison: Comparison, rounds: int, deadline_s: float, keep: Callable[[], None], report: Say
) -> None:
    """Measure the worker in both modes and `vllm serve`, and store the results in `comparison`.

    Two engines fit on a GPU at a time. `vllm serve` stays, and the modes take turns in the place
    beside it. The first start compiles, and all others take what it has compiled: two compilations
    of the same model can differ by a sixth in time per token.

    Args:
        comparison: Gets what is measured.
        rounds: Repetitions of all loads, at most.
        deadline_s: Time of `time.monotonic()` at which no load should run any more.
        keep: Called after each result.
        report: Shows progress.
    """
    gpu = runs_on_gpu()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        directory = Path(name)
        model = build_sized_model(
            directory / "model", comparison.size, max_model_len=SPACE.model_len
        )
        environ = make_environ(os.environ, model, SPACE, gpu=gpu) | share_caches(directory)
        (shim := directory / "shim").mkdir()
        services = make_services(environ, shim, comparison.rtt_ms)
        turns = Turns(comparison, GPU_LOADS if gpu else CPU_LOADS, rounds, model, keep, report)
        servers = {n: Server(s, directory / f"{n}.log") for n, s in services.items()}
        serve = servers[SERVE]
        try:
            report(f"{HTTP} is ready after {await servers[HTTP].start():.1f} s")
            report(f"{SERVE} is ready after {(start_s := await serve.start()):.1f} s")
            now_s = time.monotonic()
            half_s = (deadline_s - now_s - start_s) / 2
            await turns.take(servers[HTTP], serve, now_s + half_s)
            await servers[HTTP].stop()
            report(f"{QUEUE} is ready after {await servers[QUEUE].start():.1f} s")
            await turns.take(servers[QUEUE], serve, deadline_s)
        finally:
            for server in servers.values():
                await server.stop()


def share_caches(directory: Path) -> dict[str, str]:
    """Return the variables with which all systems use the compile cache of the first one."""
    return {
        "VLLM_CACHE_ROOT": str(directory / "cache" / "vllm"),
        "TRITON_CACHE_DIR": str(directory / "cache" / "triton"),
        # It keeps what the first engine measured, which has the GPU for itself.
        "VLLM_ENABLE_STARTUP_PLAN": "0",
    }


async def ask(url: str, model: Path, load: Load, seed: int) -> dict[str, float]:
    """Run a load with vLLM's own client and return the figures of `FIGURES`.

    Raises:
        LoadError: Not every request was answered with as many tokens as it asked for.
    """
    from vllm.benchmarks import serve
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser()
    serve.add_cli_args(parser)
    options = {
        "backend": BACKENDS[load.shape],
        "base-url": url,
        "endpoint": ROUTES[load.shape],
        "model": model,
        "served-model-name": MODEL,
        "dataset-name": "random",
        "random-input-len": load.prompt_tokens,
        "random-output-len": load.tokens,
        "num-prompts": load.requests,
        "request-rate": "inf" if load.rate is None else load.rate,
        "percentile-metrics": "ttft,tpot,itl,e2el",
        "metric-percentiles": "50,99",
        "temperature": 0,
        "ready-check-timeout-sec": 0,
        "seed": seed,
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    with redirect_stdout(io.StringIO()):
        parsed = parser.parse_args([*arguments, "--ignore-eos", "--disable-tqdm"])
        found: dict[str, Any] = await serve.main_async(parsed)
    wanted = load.requests * load.tokens
    if found["completed"] != load.requests or found["total_output_tokens"] != wanted:
        raise LoadError(
            f"{found['completed']} of {load.requests} requests answered, "
            f"{found['total_output_tokens']} of {wanted} tokens"
        )
    return {name: float(found[key]) for name, key in FIGURES.items()}
