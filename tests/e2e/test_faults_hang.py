"""A worker that is frozen and thawed, and one whose vLLM hangs; with every secret a canary."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.support.deployment import LONG, Api, connect, make_environ
from tests.e2e.support.process_tree import descendants, find_process, wait_gone
from worker.errors import ExitCode
from worker_tools.dev import Fault, LocalDeployment, LocalEndpoint
from worker_tools.dev import endpoint as endpoint_module

pytestmark = [pytest.mark.faults, pytest.mark.asyncio(loop_scope="module")]

SILENCE_S = 4
FREEZE_S = 12
"""Longer than a health check of vLLM, and than the limit."""

CANARIES = {
    "HF_TOKEN": "hf_canary1canary1",
    "WORKER_API_KEY": "canary2canary2",
    "AWS_SECRET_ACCESS_KEY": "canary3canary3",
    "BUCKET_SECRET_ACCESS_KEY": "canary4canary4",
    "OPENAI_API_KEY": "canary5canary5",
    "SOME_SERVICE_TOKEN": "canary6canary6",
}
PLATFORM_KEY = "rpa_canary7canary7"
PROMPT = "canary8canary8 in a prompt"


class Watched:
    """A deployment, and everything that leaves its worker."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.bodies: list[bytes] = []
        self.deployment: LocalDeployment
        self.api: Api

    def keep(self, call) -> bool:
        self.bodies.append(call.body)
        return False


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("canaries")


@pytest.fixture(scope="module")
def environ(tiny_model: Path, folder: Path) -> dict[str, str]:
    return {
        **make_environ(tiny_model, **CANARIES),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "WORKER_LOG_LEVEL": "debug",
        "ENGINE_SILENCE_TIMEOUT_S": str(SILENCE_S),
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(environ: dict[str, str]) -> AsyncIterator[Watched]:
    found = Watched()
    patch = pytest.MonkeyPatch()
    patch.setattr(endpoint_module, "API_KEY", PLATFORM_KEY)
    endpoint = LocalEndpoint()
    for operation in ("stream", "done", "ping"):
        endpoint.faults.add(Fault(operation, calls=None, when=found.keep))
    async with LocalDeployment(
        environ=environ,
        endpoint=endpoint,
        on_output=lambda _worker, line: found.lines.append(line),
    ) as found.deployment:
        await found.deployment.wait_ready()
        async with connect(found.deployment) as found.api:
            yield found
    patch.undo()


async def test_no_secret_leaves_the_worker(
    watched: Watched, environ: dict[str, str], folder: Path
) -> None:
    job = await watched.api.runsync({"prompt": PROMPT, "sampling_params": {"max_tokens": 8}})
    assert job["status"] == "COMPLETED"
    await watched.api.runsync({"prompt": PROMPT, "model": CANARIES["HF_TOKEN"][:5]})
    await watched.api.runsync({"route": "/v1/nothing", "body": {}})
    worker = watched.deployment.processes[0].pid
    commands = b""
    for pid in {worker, *descendants(worker)}:
        with suppress(OSError):
            commands += Path(f"/proc/{pid}/cmdline").read_bytes()
    written = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    checks = b"".join(
        subprocess.run(
            [sys.executable, "-m", "worker", "check", *options], env=environ, capture_output=True
        ).stdout
        for options in ([], ["--json"])
    )
    places = {
        "output": "\n".join(watched.lines).encode(),
        "posts": b"".join(watched.bodies),
        "command lines": commands,
        "files": written,
        "worker check": checks,
    }
    assert all(places[name] for name in ("output", "posts", "command lines", "worker check"))
    found = [
        (place, secret)
        for place, text in places.items()
        for secret in (*CANARIES.values(), PLATFORM_KEY)
        if secret.encode() in text
    ]
    assert found == []
    for place in ("output", "command lines", "files"):
        assert PROMPT.encode() not in places[place], place


async def test_frozen_worker_goes_on_after_the_thaw(watched: Watched) -> None:
    worker = watched.deployment.processes[0].pid
    tree = {worker, *descendants(worker)}
    running = await watched.api.run(LONG)
    await watched.api.wait_for(running, "IN_PROGRESS")
    for pid in tree:
        os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(FREEZE_S)
    queued = await watched.api.run({"prompt": "Once", "sampling_params": {"max_tokens": 5}})
    for pid in tree:
        os.kill(pid, signal.SIGCONT)
    async with asyncio.timeout(60):
        await watched.api.wait_for(queued, "COMPLETED")
        await watched.api.wait_for(running, "COMPLETED")
    assert watched.deployment.processes[0].returncode is None


async def test_server_that_hangs_fails_the_jobs_and_ends_the_worker(watched: Watched) -> None:
    worker = watched.deployment.processes[0].pid
    tree = {worker, *descendants(worker)}
    job_id = await watched.api.run(LONG)
    await watched.api.wait_for(job_id, "IN_PROGRESS")
    os.kill(find_process(tree, "worker.engine.child"), signal.SIGSTOP)
    async with asyncio.timeout(45):
        job = await watched.api.wait_for(job_id, "FAILED")
        error = json.loads(job["error"])["error"]
        assert (error["code"], error["retryable"]) == ("engine_died", True)
        assert await watched.deployment.wait() == ExitCode.ENGINE_DIED
    await wait_gone(tree)
    assert any("API server with process id" in line for line in watched.lines)
