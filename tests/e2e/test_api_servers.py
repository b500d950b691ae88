"""Two API servers before one engine: the same answers and refusals, and one death is the end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from process_tree import descendants, wait_gone
from served import LONG, Api, connect, deploy, make_environ
from test_faults_model import DATA_URL, chat
from tiny_vision import CONTEXT, build_tiny_vision

from worker.dev import LocalDeployment
from worker.errors import ExitCode

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVERS = 2

REQUESTS = 12
"""Enough for each server to get some: the kernel shares connections out."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[LocalDeployment, Api]]:
    model = build_tiny_vision(tmp_path_factory.mktemp("models") / "tiny-vision")
    environ = make_environ(model, MAX_MODEL_LEN=str(CONTEXT), API_SERVER_COUNT=str(SERVERS))
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
