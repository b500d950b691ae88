"""Two ranks of tensor parallelism on a CPU: the end of one ends the worker at once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.e2e.support.deployment import LONG, connect, deploy, make_environ
from tests.e2e.support.process_tree import descendants, wait_gone
from tests.e2e.support.tiny_model import build_tiny_model
from worker.errors import ExitCode

VLLM_TAKES_S = 9
"""How long vLLM itself takes to report the loss of a rank."""


@pytest.mark.faults
async def test_killed_rank_fails_its_jobs_and_ends_the_worker_at_once(tmp_path: Path) -> None:
    model = build_tiny_model(tmp_path / "tiny")
    cores = sorted(os.sched_getaffinity(0))
    # By itself vLLM wants a NUMA node for each rank.
    binding = {"VLLM_CPU_OMP_THREADS_BIND": f"{cores[0]}|{cores[-1]}"}
    environ = make_environ(model, TENSOR_PARALLEL_SIZE="2", **binding)
    async with deploy(environ, []) as running, connect(running) as api:
        worker = running.processes[0]
        tree = {worker.pid, *descendants(worker.pid)}
        ranks = [pid for pid in tree if "Worker_TP1" in " ".join(psutil.Process(pid).cmdline())]
        assert len(ranks) == 1
        job = await api.run(LONG)
        await api.wait_for(job, "IN_PROGRESS")
        os.kill(ranks[0], signal.SIGKILL)
        killed_at = time.monotonic()
        failed = await api.wait_for(job, "FAILED")
        print(f"the job failed {time.monotonic() - killed_at:.2f} s after the kill")
        assert json.loads(failed["error"])["error"]["code"] == "engine_died"
        assert time.monotonic() - killed_at < VLLM_TAKES_S
        async with asyncio.timeout(30):
            assert await worker.wait() == ExitCode.ENGINE_DIED
        await wait_gone(tree)
