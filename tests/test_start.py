import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from worker.engine.parent_death import group_is_alive
from worker.errors import ExitCode
from worker.machine import MachineInfo
from worker.request import Code
from worker.settings.endpoint import JOB_SOURCE
from worker.start import find_price, run_worker
from worker_tools.dev import LocalDeployment, LocalEndpoint
from worker_tools.dev.deployment import DEFAULTS
from worker_tools.dev.job import Job, JobRequest, JobStatus

WORKER = Path(__file__).parent / "fakes/engine_worker.py"
ENVIRON = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
SERVE = "report(phase='import')\nprint('engine', os.getpid())\n"
QUIET = {"MODEL_NAME": "org/name", "SELF_TEST": "false"}
"""A fake engine answers health checks only."""

TOKEN = "hf_averysecretvalue"


@pytest.mark.parametrize(
    ("environ", "status", "words"),
    [
        pytest.param(
            {"MAX_CONCURRENCY": "many", "DEFAULT_BATCH_SIZE": "-1", JOB_SOURCE: "http://x/$ID"},
            ExitCode.CONFIGURATION,
            ["2 configuration problems", "MAX_CONCURRENCY", "DEFAULT_BATCH_SIZE", "many"],
            id="two-bad-values",
        ),
        pytest.param(
            {"MODEL_NMAE": "org/name", JOB_SOURCE: "http://x/$ID"},
            ExitCode.CONFIGURATION,
            ["MODEL_NMAE", "MODEL_NAME"],
            id="misspelt-name",
        ),
        pytest.param(
            {"MODEL_NAME": "org/name"},
            ExitCode.UNAVAILABLE,
            [JOB_SOURCE, "worker dev"],
            id="no-queue",
        ),
        pytest.param(
            {"MODEL_NAME": "org/name", JOB_SOURCE: ""},
            ExitCode.UNAVAILABLE,
            [JOB_SOURCE],
            id="empty-queue",
        ),
    ],
)
def test_run_worker_that_cannot_work_says_why_and_exits(capsys, environ, status, words):
    assert run_worker({**ENVIRON, **environ}) == status
    captured = capsys.readouterr()
    for word in words:
        assert word in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


class Queue:
    """A worker with a fake engine under the local endpoint."""

    def __init__(self, deployment: LocalDeployment, lines: list[str]) -> None:
        self.deployment = deployment
        self.lines = lines

    def submit(self) -> Job:
        job_input = {"prompt": "x", "stream": True}
        request = JobRequest(
            job_input, sync=False, execution_timeout_ms=60_000, ttl_ms=60_000, retention_s=60
        )
        return self.deployment.endpoint.store.submit(request)

    async def wait_for(self, condition) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.01)

    @property
    def engine_pid(self) -> int:
        return next(int(line.split()[1]) for line in self.lines if line.startswith("engine "))

    async def exit_status(self) -> int:
        status = await asyncio.wait_for(self.deployment.wait(), 20)
        assert not group_is_alive(self.engine_pid)
        return status


@asynccontextmanager
async def deploy(do: str, **variables: str) -> AsyncIterator[Queue]:
    lines: list[str] = []
    environ = {**ENVIRON, **QUIET, "FAKE_ENGINE_DO": do, **variables}
    deployment = LocalDeployment(
        environ=environ, on_output=lambda _worker, line: lines.append(line)
    )
    deployment.command = (sys.executable, str(WORKER))
    async with deployment:
        queue = Queue(deployment, lines)
        await queue.wait_for(lambda: any(line.startswith("engine ") for line in lines))
        yield queue


async def test_worker_whose_engine_cannot_start_says_why_without_secrets():
    do = SERVE + (
        "print('token', os.environ['HF_TOKEN'])\n"
        "report(error='ValueError', message='no ' + os.environ['HF_TOKEN'])\nexit(1)"
    )
    async with deploy(do, HF_TOKEN=TOKEN) as queue:
        assert await queue.exit_status() == ExitCode.ENGINE_START
    assert "token [redacted]" in queue.lines
    assert "error: vLLM did not start: ValueError: no [redacted]" in queue.lines
    assert TOKEN not in "\n".join(queue.lines)


async def test_worker_whose_engine_fails_the_self_test_takes_no_job_and_says_why():
    do = SERVE + (
        "def answer(*_):\n    print('ValueError: no kernel image')\n    os._exit(7)\n"
        "serve_health(lambda number: 200 if number == 0 else answer())"
    )
    do = do.replace("serve_health(", "on_other(answer)\nserve_health(")
    async with deploy(do, SELF_TEST="true") as queue:
        job = queue.submit()
        assert await queue.exit_status() == ExitCode.ENGINE_START
        assert job.status is JobStatus.IN_QUEUE
        unhealthy = queue.deployment.endpoint.store.workers.get("worker-1").unhealthy
    [line] = [line for line in queue.lines if line.startswith("error: ")]
    assert line.startswith("error: vLLM loaded the model and cannot answer with it: ")
    assert line.endswith("ValueError: no kernel image")
    assert unhealthy.startswith("engine_start: vLLM loaded the model")


async def test_sigterm_while_the_engine_starts_ends_the_worker_in_order():
    async with deploy(SERVE + "time.sleep(60)") as queue:
        queue.deployment.processes[0].terminate()
        assert await queue.exit_status() == ExitCode.OK
    assert not any("error" in line.lower() for line in queue.lines)


async def test_sigterm_ends_the_worker_in_order():
    async with deploy(SERVE + "serve(200)") as queue:
        await queue.deployment.wait_ready()
        queue.deployment.processes[0].terminate()
        assert await queue.exit_status() == ExitCode.OK
    assert any("SIGTERM: accepting no more requests" in line for line in queue.lines)


@pytest.mark.parametrize("way", ["killed", "unhealthy"])
async def test_worker_whose_engine_dies_fails_its_jobs_at_once_and_ends(way, tmp_path):
    broken = tmp_path / "broken"
    do = f"{SERVE}serve_health(lambda _number: 503 if os.path.exists({str(broken)!r}) else 200)"
    async with deploy(do) as queue:
        await queue.deployment.wait_ready()
        job = queue.submit()
        await queue.wait_for(lambda: job.status is JobStatus.IN_PROGRESS)
        if way == "killed":
            os.kill(queue.engine_pid, 9)
        else:
            broken.touch()
        assert await job.finished(6)
        assert await queue.exit_status() == ExitCode.ENGINE_DIED
    assert job.status is JobStatus.FAILED
    assert json.loads(job.error)["error"]["code"] == Code.ENGINE_DIED


async def test_worker_whose_output_nobody_reads_serves_on(tmp_path):
    """More lines than a pipe holds, after the reader has gone: vLLM must not come to a halt."""
    done = tmp_path / "done"
    flood = f"[print('x' * 1000) for _ in range(500)]; open({str(done)!r}, 'w').close()"
    endpoint = LocalEndpoint()
    await endpoint.start()
    reader, writer = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(WORKER),
        env={
            **DEFAULTS,
            **ENVIRON,
            **QUIET,
            **endpoint.worker_environment("worker-1"),
            "DRAIN_TIMEOUT_S": "0.1",
            "FAKE_ENGINE_DO": f"on_other(lambda: exec({flood!r}))\nserve(200)",
        },
        stdout=writer,
        stderr=writer,
    )
    os.close(writer)
    try:
        async with asyncio.timeout(20):
            await endpoint.store.workers.get("worker-1").ready.wait()
            os.close(reader)
            endpoint.store.submit(
                JobRequest(
                    {"prompt": "x"},
                    sync=False,
                    execution_timeout_ms=60_000,
                    ttl_ms=60_000,
                    retention_s=60,
                )
            )
            while not done.exists():
                await asyncio.sleep(0.01)
            process.terminate()
            endpoint.store.drain()
            assert await process.wait() == ExitCode.OK
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await endpoint.stop()


@pytest.mark.parametrize(
    ("gpu", "count", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", 2, 2 * 0.00116),
        ("NVIDIA GeForce RTX 5090", 1, None),  # RunPod publishes no price of its pool.
        ("NVIDIA GeForce GTX 1080", 1, None),
        (None, 0, None),
    ],
)
def test_price_of_a_start_is_that_of_all_gpus(gpu, count, expected):
    assert find_price(MachineInfo(count, memory_bytes=0, gpu_name=gpu)) == expected
