"""What becomes of jobs and processes when something ends; each test starts an engine of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.support.deployment import LONG, Api, make_environ
from tests.e2e.support.own_code import build_own_code_model
from tests.e2e.support.process_tree import descendants, find_process, wait_gone
from tests.e2e.support.tiny_model import build_tiny_model
from worker.errors import ExitCode
from worker_tools.dev import LocalDeployment
from worker_tools.dev.deployment import WorkerExitError

pytestmark = pytest.mark.asyncio(loop_scope="session")


def shared_memory(pids: set[int]) -> set[Path]:
    """Return the files of /dev/shm that processes have mapped."""
    maps = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in pids)
    return {Path(path) for path in re.findall(r"/dev/shm/\S+", maps)}


@asynccontextmanager
async def serving(
    model: Path, **settings: str
) -> AsyncIterator[tuple[LocalDeployment, Api, list[str]]]:
    output: list[str] = []
    async with (
        LocalDeployment(
            environ=make_environ(model, **settings),
            on_output=lambda _, line: output.append(line),
        ) as deployment,
        aiohttp.ClientSession() as session,
    ):
        await deployment.wait_ready()
        yield deployment, Api(session, deployment.endpoint.url), output


@pytest.mark.faults
@pytest.mark.parametrize("victim", ["VLLM::EngineCore", "worker.engine.child"])
async def test_engine_killed_fails_the_job_and_ends_the_worker(
    tiny_model: Path, victim: str
) -> None:
    async with serving(tiny_model) as (deployment, api, output):
        worker = deployment.processes[0].pid
        processes = descendants(worker)
        shared = shared_memory(processes)
        job_id = await api.run(LONG)
        await api.wait_for(job_id, "IN_PROGRESS")
        os.kill(find_process(processes, victim), signal.SIGKILL)
        job = await api.wait_for(job_id, "FAILED")
        error = json.loads(job["error"])["error"]
        assert error["code"] == "engine_died"
        assert error["retryable"] is True
        assert await deployment.wait() == ExitCode.ENGINE_DIED
        await wait_gone({worker, *processes})
        assert any("this worker ends" in line for line in output)
        queued = await api.run({"prompt": "Once"})
        assert (await api.call("GET", f"/status/{queued}"))["status"] == "IN_QUEUE"
    assert shared, "vLLM's processes talk over shared memory"
    assert [path for path in shared if path.exists()] == []


@pytest.mark.faults
async def test_worker_killed_leaves_no_process(tmp_path: Path) -> None:
    """Its model brings code of its own, which vLLM may run here."""
    model, mark = build_own_code_model(tmp_path)
    async with serving(model, TRUST_REMOTE_CODE="true") as (deployment, api, _output):
        assert mark.exists()
        assert (await api.runsync({"prompt": "Once"}))["status"] == "COMPLETED"
        worker = deployment.processes[0].pid
        processes = descendants(worker)
        assert len(processes) >= 4, "API server, engine core, engine worker, heartbeat"
        os.kill(worker, signal.SIGKILL)
        await wait_gone({worker, *processes})


async def test_sigterm_finishes_running_jobs_then_exits_0(tmp_path: Path) -> None:
    model = build_tiny_model(tmp_path / "plain-llama", chat_template=False)
    async with serving(model) as (deployment, api, _output):
        chat = await api.runsync({"messages": [{"role": "user", "content": "Hello"}]})
        assert json.loads(chat["error"])["error"]["code"] == "chat_template_missing"

        processes = descendants(deployment.processes[0].pid)
        short = {**LONG, "sampling_params": {"max_tokens": 300, "ignore_eos": True}}
        running = await api.run(short)
        await api.wait_for(running, "IN_PROGRESS")
        for _ in range(2):
            os.kill(deployment.processes[0].pid, signal.SIGTERM)
            await asyncio.sleep(0.1)
        job = await api.wait_for(running, "COMPLETED", "FAILED")
        assert job["output"][-1]["usage"]["output"] == 300
        assert await deployment.wait() == ExitCode.OK
        await wait_gone(processes)


async def test_sigterm_during_loading_exits_0_and_leaves_no_process(tiny_model: Path) -> None:
    output: list[str] = []
    async with LocalDeployment(
        environ=make_environ(tiny_model), on_output=lambda _, line: output.append(line)
    ) as deployment:
        while not any("loading the model" in line for line in output):
            await asyncio.sleep(0.05)
        worker = deployment.processes[0].pid
        processes = descendants(worker)
        os.kill(worker, signal.SIGTERM)
        await asyncio.sleep(0.1)
        os.kill(worker, signal.SIGTERM)
        assert await deployment.wait() == ExitCode.OK
        await wait_gone(processes)


@pytest.mark.parametrize(
    ("name", "named", "status"),
    [
        pytest.param("/nowhere/model", "MODEL_NAME", ExitCode.CONFIGURATION, id="no such folder"),
        pytest.param("nobody/nothing", "MODEL_NAME", ExitCode.ENGINE_START, id="not on the hub"),
    ],
)
async def test_absent_model_ends_the_worker_with_the_remedy(
    name: str, named: str, status: ExitCode, tiny_model: Path
) -> None:
    output: list[str] = []
    environ = {**make_environ(tiny_model), "MODEL_NAME": name}
    async with LocalDeployment(
        environ=environ, on_output=lambda _, line: output.append(line)
    ) as deployment:
        with pytest.raises(WorkerExitError) as caught:
            await deployment.wait_ready()
    assert caught.value.status == status
    last = "\n".join(output[-5:])
    assert named in last
    assert "Traceback" not in last
