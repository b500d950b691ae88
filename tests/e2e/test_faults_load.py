"""Far more jobs than places, on a platform with faults; then an engine that hangs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.support.deployment import LONG, TEXT, Api, connect, make_environ
from tests.e2e.support.process_tree import descendants, find_process, wait_gone
from tests.e2e.support.tiny_model import MAX_MODEL_LEN
from worker.errors import ExitCode
from worker_tools.dev import Fault, Limits, LocalDeployment, LocalEndpoint
from worker_tools.dev.job import Job, JobRequest, JobStatus

pytestmark = [pytest.mark.faults, pytest.mark.asyncio(loop_scope="module")]

WATCHED_WORKER = Path(__file__).parent / "support/watched_worker.py"
PLACES = 300
JOBS = 1000
STALL_S = 3
MAX_BUSY_MS = 250
MOST_UNFAIR = 3
"""Times the median: how long the slowest of many equal jobs may run."""

MOST_GROWTH_KIB = 200 * 1024
COMMON_LINE_LIMIT_BYTES = 8190
"""Apache's; nginx and aiohttp have about the same."""

PATIENT: Any = {
    "sync": False,
    "execution_timeout_ms": 600_000,
    "ttl_ms": 600_000,
    "retention_s": 600,
}


class Loaded:
    """A deployment and what its worker prints."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.deployment: LocalDeployment
        self.api: Api

    def watched(self) -> list[list[int]]:
        """Return stall, busy time (both ms) and memory (KiB) of each second."""
        marked = [line.split()[1:] for line in self.lines if line.startswith("watched ")]
        return [[int(number) for number in numbers] for numbers in marked]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def loaded(tiny_model: Path) -> AsyncIterator[Loaded]:
    found = Loaded()
    endpoint = LocalEndpoint(limits=Limits(request_line_bytes=COMMON_LINE_LIMIT_BYTES))
    environ = make_environ(
        tiny_model,
        MAX_CONCURRENCY=str(PLACES),
        MAX_NUM_SEQS="64",
        ENGINE_STALL_TIMEOUT_S=str(STALL_S),
        RUNPOD_PING_INTERVAL="1000",
    )
    found.deployment = LocalDeployment(
        environ=environ,
        endpoint=endpoint,
        on_output=lambda _worker, line: found.lines.append(line),
    )
    found.deployment.command = (
        sys.executable,
        str(Path(__file__).parent / "support/watched_worker.py"),
    )
    async with found.deployment:
        await found.deployment.wait_ready()
        async with connect(found.deployment) as found.api:
            yield found


SENTENCE = "All work and no play. "
"""16 tokens."""

NEAR_LIMIT = SENTENCE * (MAX_MODEL_LEN // 16 - 2)
HUGE = SENTENCE * 50_000
"""1.1 MB, far above the limit."""


def make_input(number: int) -> dict[str, Any]:
    """Streams and whole answers, prompts short, near the context's limit and far above it."""
    long = NEAR_LIMIT if number % 25 == 0 else HUGE if number % 200 == 7 else ""
    return {
        "prompt": f"Job {number}. {long}",
        "stream": number % 2 == 0,
        "sampling_params": {"max_tokens": 8, "ignore_eos": True},
    }


def measure_fairness(jobs: list[Job]) -> dict[str, float]:
    """Return how long short jobs ran once they were taken: median and slowest, in seconds."""
    ran = sorted(
        float(job.metrics.finished_s or 0) - float(job.metrics.taken_s or 0)
        for job in jobs
        if len(job.request.input["prompt"]) < len(SENTENCE)
    )
    return {"median_s": round(ran[len(ran) // 2], 2), "slowest_s": round(ran[-1], 2)}


async def test_overload_is_served_completely_in_bounded_memory(
    loaded: Loaded, record_property: Callable[[str, object], None]
) -> None:
    store = loaded.deployment.endpoint.store
    named: set[str] = set()
    reporting = type(store).ping

    def ping(worker_id: str, job_ids: list[str]) -> None:
        named.update(job_ids)
        reporting(store, worker_id, job_ids)

    store.ping = ping
    await asyncio.sleep(1.2)
    _stall, _busy, memory_before = loaded.watched()[-1]
    seconds_before = len(loaded.watched())
    jobs = [store.submit(JobRequest(make_input(n), **PATIENT)) for n in range(JOBS)]
    slow = jobs[0].id
    loaded.deployment.endpoint.faults.add(
        Fault("stream", calls=None, delay_s=0.2, when=lambda call: call.job_id == slow)
    )
    async with asyncio.timeout(150):
        for job in jobs:
            await job.finished(150)
    loaded.deployment.endpoint.faults.clear()
    await asyncio.sleep(1.2)
    for job in jobs:
        if len(job.request.input["prompt"]) > len(NEAR_LIMIT) + len(SENTENCE):
            assert json.loads(job.error)["error"]["code"] == "context_length_exceeded"
        else:
            assert job.status is JobStatus.COMPLETED, job.error
    taken = [job.metrics.taken_s for job in jobs]
    assert taken == sorted(taken), "first come, first served"
    seconds = loaded.watched()[seconds_before:]
    busy_ms = max(busy for _stall, busy, _memory in seconds)
    memory = max(memory for _stall, _busy, memory in seconds)
    fairness = measure_fairness(jobs[1:])
    figures = {
        "stall_ms": max(stall for stall, _busy, _memory in seconds),
        "busy_ms": busy_ms,
        "memory_kib": (memory_before, memory),
        "jobs_named_in_heartbeats": len(named),
        "run_of_a_short_job": fairness,
    }
    record_property("overload", json.dumps(figures))
    print(figures)
    assert busy_ms < MAX_BUSY_MS
    assert fairness["slowest_s"] < MOST_UNFAIR * fairness["median_s"]
    assert memory - memory_before < MOST_GROWTH_KIB
    assert len(named) >= PLACES, "every heartbeat names all jobs, in URLs that are short enough"
    assert not any("Ping Request Error" in line for line in loaded.lines)


async def test_faults_of_the_platform_lose_and_repeat_nothing(loaded: Loaded) -> None:
    faults = loaded.deployment.endpoint.faults
    faults.add(Fault("take", status=500))
    faults.add(Fault("take", body=b"<html>not JSON</html>"))
    faults.add(Fault("stream", calls=2, status=500))
    faults.add(Fault("stream", drop=True))
    faults.add(Fault("stream", status=429))
    faults.add(Fault("done", calls=2, status=502))
    faults.add(Fault("done", drop=True, processed=True))
    job_id = await loaded.api.run(
        {
            "prompt": "Once",
            "stream": True,
            "structured_outputs": {"choice": [TEXT]},
            "sampling_params": {"max_tokens": 200},
        }
    )
    async with asyncio.timeout(40):
        job = await loaded.api.wait_for(job_id, "COMPLETED", "FAILED")
    chunks = (await loaded.api.call("GET", f"/stream/{job_id}"))["stream"]
    faults.clear()

    def join(outputs: list[Any]) -> str:
        return "".join(text for output in outputs for text in output["choices"][0]["tokens"])

    assert join(job["output"]) == TEXT
    assert join([chunk["output"] for chunk in chunks]) == TEXT


async def test_engine_that_hangs_fails_the_jobs_and_ends_the_worker(loaded: Loaded) -> None:
    worker = loaded.deployment.processes[0].pid
    tree = {worker, *descendants(worker)}
    job_id = await loaded.api.run(LONG)
    await loaded.api.wait_for(job_id, "IN_PROGRESS")
    await asyncio.sleep(0.5)
    os.kill(find_process(tree, "VLLM::EngineCore"), signal.SIGSTOP)
    async with asyncio.timeout(30):
        job = await loaded.api.wait_for(job_id, "FAILED")
        error = json.loads(job["error"])["error"]
        assert (error["code"], error["retryable"]) == ("engine_died", True)
        assert await loaded.deployment.wait() == ExitCode.ENGINE_DIED
    await wait_gone(tree)
    assert any("has made no progress for" in line for line in loaded.lines)
