"""Two API servers before one engine: the same answers; death and hang of one end the worker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from benchmarks.processes import find_socket
from tests.e2e.support.deployment import (
    LONG,
    Api,
    connect,
    connect_engine,
    deploy,
    make_environ,
    read_metric,
)
from tests.e2e.support.process_tree import descendants, wait_gone
from tests.e2e.support.tiny_vision import CONTEXT, build_tiny_vision
from tests.e2e.test_faults_model import DATA_URL, chat
from worker.engine import heartbeat
from worker.errors import ExitCode
from worker_tools.dev import LocalDeployment
from worker_tools.dev.process import WorkerProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVERS = 2

COUNT = "vllm:e2e_request_latency_seconds_count"

REQUESTS = 12
"""Enough for each server to get some: the kernel shares connections out."""


SILENCE_S = 5

STREAMS = 40


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    model = build_tiny_vision(tmp_path_factory.mktemp("models") / "tiny-vision")
    return make_environ(
        model,
        MAX_MODEL_LEN=str(CONTEXT),
        API_SERVER_COUNT=str(SERVERS),
        ENGINE_SILENCE_TIMEOUT_S=str(SILENCE_S),
        MAX_CONCURRENCY=str(STREAMS + 10),
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(environ: dict[str, str]) -> AsyncIterator[tuple[LocalDeployment, Api]]:
    async with deploy(environ, []) as running, connect(running) as api:
        yield running, api


def find_servers(worker_pid: int) -> list[int]:
    command_lines = {p: Path(f"/proc/{p}/cmdline").read_text() for p in descendants(worker_pid)}
    return [pid for pid, command_line in command_lines.items() if "APIServer" in command_line]


async def test_each_server_answers_and_fetches_nothing_from_within(
    served: tuple[LocalDeployment, Api],
) -> None:
    deployment, api = served
    assert len(find_servers(deployment.processes[0].pid)) == SERVERS
    answered = await asyncio.gather(*(api.runsync(chat(DATA_URL)) for _ in range(REQUESTS)))
    assert {job["status"] for job in answered} == {"COMPLETED"}
    private = chat("http://127.0.0.1:9/x.png")
    for job in await asyncio.gather(*(api.runsync(private) for _ in range(REQUESTS))):
        error = json.loads(job["error"])["error"]
        assert (error["status"], error["code"]) == (400, "invalid_request")
        assert "ALLOW_PRIVATE_MEDIA" in error["message"]


async def test_servers_share_the_memory_of_what_was_imported_before_the_fork(
    served: tuple[LocalDeployment, Api],
) -> None:
    deployment, _api = served
    for pid in find_servers(deployment.processes[0].pid):
        memory = psutil.Process(pid).memory_full_info()
        # A spawned server has 80 % of its memory for itself, a forked one less than a fifth.
        assert memory.uss < memory.rss / 3


async def test_metrics_count_the_requests_of_all_servers(
    served: tuple[LocalDeployment, Api],
) -> None:
    deployment, api = served
    engine = connect_engine(deployment.processes[0].pid)
    try:
        before = await read_metric(engine, COUNT)
        await asyncio.gather(*(api.runsync({"prompt": "A"}) for _ in range(REQUESTS)))
        # Whichever server answers, it reports the sum.
        counts = [await read_metric(engine, COUNT) for _ in range(REQUESTS)]
    finally:
        await engine.close()
    assert counts == [before + REQUESTS] * REQUESTS


async def test_death_of_one_server_ends_the_worker(served: tuple[LocalDeployment, Api]) -> None:
    deployment, api = served
    long = {**LONG, "sampling_params": {"n": 16, "max_tokens": CONTEXT - 100, "ignore_eos": True}}
    tree = {(worker := deployment.processes[0]).pid, *descendants(worker.pid)}
    running = await api.run(long)
    await api.wait_for(running, "IN_PROGRESS")
    os.kill(find_servers(worker.pid)[0], signal.SIGKILL)
    async with asyncio.timeout(30):
        job = await api.wait_for(running, "FAILED", "COMPLETED")
        error = json.loads(job["error"])["error"]
        # The other server may have the time to say that its engine is gone.
        assert error["code"] in ("engine_died", "engine_error")
        assert error["retryable"] is True
        assert await worker.wait() == ExitCode.ENGINE_DIED
    await wait_gone(tree)


async def test_servers_that_stop_clean_up_their_metrics_and_log_no_error(
    environ: dict[str, str],
) -> None:
    output: list[str] = []
    async with deploy(environ, output) as deployment:
        worker = deployment.processes[0]
        await wait_serving(worker.pid)
        os.kill(worker.pid, signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await worker.wait() == 0
    assert any("API server: shutdown triggered" in line for line in output)
    assert not any("Error during metrics cleanup" in line for line in output)
    assert not [line for line in output if " ERROR " in line]


@pytest.mark.faults
async def test_hang_of_one_server_ends_the_worker_while_the_other_answers(
    environ: dict[str, str],
) -> None:
    output: list[str] = []
    async with deploy(environ, output) as deployment, connect(deployment) as api:
        tree = {(worker := deployment.processes[0]).pid, *descendants(worker.pid)}
        await wait_serving(worker.pid)
        sampling = {"max_tokens": CONTEXT - 100, "ignore_eos": True}
        body = {"prompt": "On", "stream": True, "sampling_params": {"n": 4, **sampling}}
        streams = [await api.run(body) for _ in range(STREAMS)]
        await asyncio.gather(*(api.wait_for(job, "IN_PROGRESS") for job in streams))
        os.kill(find_servers(worker.pid)[0], signal.SIGSTOP)
        others = asyncio.create_task(ask_until_it_ends(api, worker))
        async with asyncio.timeout(SILENCE_S + 40):
            assert await worker.wait() == ExitCode.ENGINE_DIED
            ended = [await api.wait_for(job, "FAILED", "COMPLETED") for job in streams]
        others.cancel()
    codes = {json.loads(job["error"])["error"]["code"] for job in ended if "error" in job}
    assert codes == {"engine_died"}
    assert any("API server with process id" in line for line in output)
    await wait_gone(tree)


async def wait_serving(worker_pid: int) -> None:
    """Return when every server serves; the worker is ready as soon as one does."""
    folder = find_socket(worker_pid).parent
    async with asyncio.timeout(60):
        while len(list(folder.glob(f"{heartbeat.PREFIX}*"))) < SERVERS:
            await asyncio.sleep(0.1)


async def ask_until_it_ends(api: Api, worker: WorkerProcess) -> None:
    """Send one short job after the other; the server that is left answers them."""
    while worker.returncode is None:
        await api.runsync({"prompt": "Once", "sampling_params": {"max_tokens": 2}})
