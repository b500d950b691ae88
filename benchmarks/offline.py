"""Batch jobs: compare the worker with `vllm bench throughput` on the same prompts."""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson

from benchmarks.batch_kills import batch_jobs, encode
from benchmarks.environment import Space, make_environ
from benchmarks.launch import runs_on_gpu
from benchmarks.model import SYLLABLES, Size, build_sized_model
from benchmarks.report import describe_facts, make_table
from benchmarks.served import build_vllm_environment, drop_option
from benchmarks.systems import Deployed, EndedError, Program
from benchmarks.worker_vllm import make_shim
from worker.settings import load_settings

SPACE = Space(
    model_len=1024,
    gpu_share=0.8,
    gpu_kv_cache_bytes=32 * 1024**3,
    cpu_kv_cache_bytes=2 * 1024**3,
)

WORKER, OFFLINE = "worker, batch jobs", "vllm bench throughput"

SERVER_OPTIONS = ("--served-model-name", "--api-server-count")
"""Options of the worker's engine that only a server has."""

BATCH_SETTINGS = {"PERFORMANCE_MODE": "throughput", "MAX_CONCURRENCY": "1200"}
"""The worker's settings for batches, as docs/batch.md has them. By default a server's engine runs
fewer requests at once than `vllm bench throughput`, and reads fewer tokens in a step."""

WARM_UP = 8
SHARE = 0.97
"""Of the engine's offline throughput, that the worker has to reach."""

RUN_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Load:
    """What is generated.

    Attributes:
        size: Shape of the model.
        requests: Number of prompts.
        words: Words of a prompt; each is a token or two.
        tokens: Tokens that each request generates.
        rtt_ms: Round trip between worker and platform, milliseconds.
    """

    size: Size
    requests: int
    words: int
    tokens: int
    rtt_ms: float


@dataclass(frozen=True, slots=True)
class Timing:
    """One run.

    Attributes:
        system: Which one.
        seconds: From its first request to its last answer.
        tokens_per_s: Generated tokens.
    """

    system: str
    seconds: float
    tokens_per_s: float


def build_prompts(load: Load) -> list[str]:
    """Return prompts that share no beginning."""
    chance = random.Random(0)
    return [
        " ".join("".join(chance.choices(SYLLABLES, k=3)) for _ in range(load.words))
        for _ in range(load.requests)
    ]


async def measure_offline(
    load: Load, rounds: int, settings: dict[str, str], say: Callable[[str], None]
) -> list[Timing]:
    """Run both systems alternately and return all timings.

    Args:
        load: What is generated.
        rounds: Turns of each system.
        settings: Environment variables of the worker.
        say: Shows progress.
    """
    timings: list[Timing] = []
    with tempfile.TemporaryDirectory(prefix="offline-") as name:
        folder = Path(name)
        model = build_sized_model(folder / "model", load.size, max_model_len=SPACE.model_len)
        environ = make_environ(os.environ, model, SPACE, gpu=runs_on_gpu())
        del environ["MAX_NUM_SEQS"], environ["MAX_CONCURRENCY"]
        prompts = build_prompts(load)
        for number in range(rounds):
            turns = (run_offline, run_worker) if number % 2 == 0 else (run_worker, run_offline)
            for run in turns:
                own = settings if run is run_worker else {}
                timing = await run(load, prompts, environ | own, folder)
                say(
                    f"{timing.system}: {timing.tokens_per_s:.1f} tokens/s in {timing.seconds:.1f} s"
                )
                timings.append(timing)
    return timings


async def run_offline(
    load: Load, prompts: list[str], environ: dict[str, str], folder: Path
) -> Timing:
    """Run `vllm bench throughput` with the worker's options for the engine.

    Raises:
        EndedError: It failed.
    """
    shim = folder / "shim"
    if not shim.exists():
        shim.mkdir()
        make_shim(shim)
    settings = load_settings(environ)
    engine = build_vllm_environment(environ, settings, shim)
    arguments = list(settings.engine_arguments())
    for option in SERVER_OPTIONS:
        arguments = drop_option(arguments, option)
    dataset, result, log = folder / "prompts.json", folder / "result.json", folder / "bench.log"
    turns = [{"conversations": [{"value": prompt}, {"value": "x"}]} for prompt in prompts]
    dataset.write_text(json.dumps(turns), encoding="utf-8")
    command = [
        *(str(shim / "vllm"), "bench", "throughput", *arguments),
        *("--dataset-name", "sharegpt", "--dataset-path", str(dataset)),
        *("--num-prompts", str(load.requests), "--output-len", str(load.tokens)),
        *("--num-warmups", str(WARM_UP), "--output-json", str(result)),
    ]
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=output, stderr=output, env=engine
        )
        async with asyncio.timeout(RUN_TIMEOUT_S):
            status = await process.wait()
    if status or not result.exists():
        raise EndedError(f"{OFFLINE} exited {status}", log)
    found = orjson.loads(result.read_bytes())
    if found["num_requests"] != load.requests:
        raise EndedError(f"{OFFLINE} ran {found['num_requests']} requests", log)
    seconds = float(found["elapsed_time"])
    return Timing(OFFLINE, seconds, load.requests * load.tokens / seconds)


async def run_worker(
    load: Load, prompts: list[str], environ: dict[str, str], folder: Path
) -> Timing:
    """Start the worker, send the prompts with `worker batch`, and end it.

    Raises:
        EndedError: The worker or the command failed.
    """
    worker = Deployed(
        Program(WORKER, (sys.executable, "-m", "worker", "start"), environ), folder / "worker.log"
    )
    try:
        await worker.start()
        worker.endpoint.rtt_ms = load.rtt_ms
        await send(worker, prompts[:WARM_UP], load, folder / "warm-up.jsonl")
        await send(worker, prompts, load, folder / f"{os.urandom(4).hex()}.jsonl")
        jobs = batch_jobs(worker.endpoint)[WARM_UP:]
        began_s = min(job.metrics.taken_s for job in jobs)
        seconds = max(job.metrics.finished_s for job in jobs) - began_s
    finally:
        await worker.stop()
    (folder / "warm-up.jsonl").unlink(missing_ok=True)
    return Timing(WORKER, seconds, load.requests * load.tokens / seconds)


async def send(worker: Deployed, prompts: list[str], load: Load, path: Path) -> None:
    """Send prompts with the command; each answer has exactly the wanted tokens."""
    lines = (
        {
            "custom_id": f"{number}",
            "method": "POST",
            "url": "/v1/completions",
            "body": {
                "prompt": prompt,
                "max_tokens": load.tokens,
                "ignore_eos": True,
                "temperature": 1.0,
                "top_p": 1.0,
            },
        }
        for number, prompt in enumerate(prompts)
    )
    path.write_bytes(b"".join(map(encode, lines)))
    state = path.with_name(f"{path.name}.{os.urandom(4).hex()}")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", "batch", str(path), "--json"),
        *("--endpoint", worker.endpoint.url, "--state", str(state)),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(RUN_TIMEOUT_S):
        out, _ = await process.communicate()
    summary = orjson.loads(out)
    if process.returncode or summary["tokens"]["output"] != len(prompts) * load.tokens:
        raise EndedError(f"worker batch exited {process.returncode}: {summary}", path)


def describe_offline(timings: list[Timing], load: Load, facts: dict[str, str]) -> str:
    """Return the timings as Markdown."""
    rows, medians = [], {}
    for system in (OFFLINE, WORKER):
        rates = sorted(timing.tokens_per_s for timing in timings if timing.system == system)
        medians[system] = statistics.median(rates)
        rows.append((system, f"{medians[system]:.1f}", f"{rates[0]:.1f} to {rates[-1]:.1f}"))
    ratio = medians[WORKER] / medians[OFFLINE]
    verdict = "met" if ratio >= SHARE else "missed"
    load_text = (
        f"{load.requests} prompts of {load.words} words, {load.tokens} tokens each, "
        f"model `{load.size}` with random weights, round trip {load.rtt_ms:g} ms"
    )
    return "\n\n".join(
        [
            describe_facts(facts | {"load": load_text, "rounds": str(len(timings) // 2)}),
            make_table(("system", "tokens/s, median", "range"), rows),
            f"The worker reaches {ratio:.3f} of the engine's offline throughput; the target of "
            f"{SHARE:g} is {verdict}.",
        ]
    )
