"""Real worker processes with RunPod's SDK; one deployment is shared by the tests that only call."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from worker.errors import ExitCode, UnavailableError
from worker_tools.dev import Fault, Limits, LocalEndpoint
from worker_tools.dev.deployment import WorkerExitError, exit_status

HERE = Path(__file__).parent
ENVIRON = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(stock_deployment, connect):
    lines = []
    async with (
        stock_deployment(environ=ENVIRON, on_output=lambda *line: lines.append(line)) as deployment,
        aiohttp.ClientSession() as session,
    ):
        await deployment.wait_ready()
        api = connect(deployment.endpoint, session)
        api.lines = lines
        yield api


async def wait_for_line(api, line):
    async with asyncio.timeout(5):
        while ("worker-1", line) not in api.lines:
            await asyncio.sleep(0.02)


on_module_loop = pytest.mark.asyncio(loop_scope="module")


@on_module_loop
async def test_sdk_worker_answers_runsync(shared):
    status, body = await shared.call("POST", "/runsync", json={"input": {"text": "é", "count": 2}})
    assert status == 200
    assert (body["status"], body["output"]) == ("COMPLETED", ["é0", "é1"])
    assert body["workerId"] == "worker-1"


@on_module_loop
async def test_sdk_worker_streams_each_yield(shared):
    job_id = await shared.run({"text": "🦙", "count": 3})
    assert await shared.endpoint.jobs[job_id].finished(5)
    body = (await shared.call("GET", f"/stream/{job_id}"))[1]
    assert body == {
        "status": "COMPLETED",
        "stream": [{"output": "🦙0"}, {"output": "🦙1"}, {"output": "🦙2"}],
    }
    assert [post.operation for post in shared.endpoint.jobs[job_id].metrics.posts] == [
        "stream",
        "stream",
        "stream",
        "done",
    ]


@on_module_loop
async def test_sdk_worker_failure_reaches_status(shared):
    status, body = await shared.call("POST", "/runsync", json={"input": {"error": "boom"}})
    assert status == 200
    assert body["status"] == "FAILED"
    assert "boom" in body["error"]


@on_module_loop
async def test_sdk_worker_stops_a_cancelled_job(shared):
    job_id = await shared.run({"sleep_s": 60})
    # A stop signal for a job that the SDK has not begun yet is lost.
    await wait_for_line(shared, f"sleeping in {job_id}")
    await shared.call("POST", f"/cancel/{job_id}")
    await wait_for_line(shared, "cancelled in the handler")
    assert (await shared.status(job_id))["status"] == "CANCELLED"


@on_module_loop
async def test_openai_client_through_sdk_worker(shared):
    async with openai.AsyncOpenAI(
        base_url=shared.endpoint.openai_url, api_key="local", max_retries=0
    ) as client:
        assert [model.id async for model in client.models.list()] == ["tiny"]
        messages: Any = [{"role": "user", "content": "hi"}]
        answer = await client.chat.completions.create(model="tiny", messages=messages)
        assert answer.choices[0].message.content == "Grüße 🦙"
        stream = await client.chat.completions.create(
            model="tiny", messages=messages, stream=True, max_tokens=3
        )
        assert [part.choices[0].delta.content async for part in stream] == ["🦙0 ", "🦙1 ", "🦙2 "]


@on_module_loop
async def test_sdk_client_speaks_every_operation(shared):
    client = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "sdk_client.py"),
        env={**ENVIRON, "RUNPOD_ENDPOINT_BASE_URL": shared.endpoint.url.rsplit("/", 1)[0]},
        stdout=asyncio.subprocess.PIPE,
    )
    output = (await client.communicate())[0].decode()
    assert client.returncode == 0
    assert json.loads(output.rsplit("RESULT ", 1)[1]) == {
        "sync": {
            "run_sync": ["sync0", "sync1"],
            "stream": ["stream0", "stream1", "stream2"],
            "output": ["stream0", "stream1", "stream2"],
            "cancel": "CANCELLED",
            "status": "CANCELLED",
            "purge": 0,
            "health": 1,
        },
        "async": {"status": "COMPLETED", "chunks": ["async0", "async1"]},
    }


@on_module_loop
async def test_sdk_worker_repeats_a_post_whose_reply_was_lost(shared):
    shared.endpoint.faults.add(Fault("stream", status=500, processed=True))
    status, body = await shared.call("POST", "/runsync", json={"input": {"text": "x"}})
    assert (status, body["output"]) == (200, ["x0"])
    assert shared.endpoint.jobs[body["id"]].chunks == ["x0", "x0"]


async def test_two_workers_work_at_once_and_end_with_the_context(stock_deployment, connect):
    async with stock_deployment(
        environ=ENVIRON, workers=2, on_output=lambda *line: None
    ) as deployment:
        await deployment.wait_ready()
        async with aiohttp.ClientSession() as session:
            api = connect(deployment.endpoint, session)
            calls = [
                api.call("POST", "/runsync", json={"input": {"pause_s": 0.3}}) for _ in range(8)
            ]
            bodies = [body for _, body in await asyncio.gather(*calls)]
            assert {body["status"] for body in bodies} == {"COMPLETED"}
            health = (await api.call("GET", "/health"))[1]
            assert health["workers"]["ready"] == 2
        pids = [process.pid for process in deployment.processes]
    assert [process.returncode for process in deployment.processes] == [0, 0]
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


async def test_job_of_a_killed_worker_goes_to_another_one(stock_deployment, connect):
    async with stock_deployment(
        environ=ENVIRON, workers=2, on_output=lambda *line: None
    ) as deployment:
        await deployment.wait_ready()
        async with aiohttp.ClientSession() as session:
            api = connect(deployment.endpoint, session)
            job_id = await api.run({"pause_s": 0.5, "text": "x"})
            job = deployment.endpoint.jobs[job_id]
            while job.worker_id is None:
                await job.changed()
            first = job.worker_id
            next(p for p in deployment.processes if p.worker_id == first).kill()
            assert await deployment.wait() == 128 + 9
            assert await job.finished(5)
            assert (job.status, job.output) == ("COMPLETED", ["x0"])
            assert job.worker_id != first


async def test_wait_ready_worker_that_exits_raises_with_its_status(stock_deployment):
    class ExitingDeployment(stock_deployment):  # type: ignore[misc, valid-type]
        command = (*stock_deployment.command, "--exit")

    lines = []
    with pytest.raises(WorkerExitError, match="worker-1 exited 3") as caught:
        async with ExitingDeployment(
            environ=ENVIRON, on_output=lambda *line: lines.append(line)
        ) as deployment:
            await deployment.wait_ready()
    assert (caught.value.status, caught.value.exit_code) == (3, ExitCode.ENGINE_START)
    assert lines == [("worker-1", "the model cannot be loaded")]


async def test_deployment_port_in_use_starts_no_worker(start, stock_deployment):
    other = await start()
    deployment = stock_deployment(environ=ENVIRON, port=other.endpoint.port)
    with pytest.raises(UnavailableError, match=str(other.endpoint.port)):
        await deployment.__aenter__()
    with pytest.raises(RuntimeError, match="not started"):
        _ = deployment.processes[0].pid


async def test_deployment_takes_a_prepared_endpoint(stock_deployment):
    endpoint = LocalEndpoint(limits=Limits(take_hold_s=1))
    deployment = stock_deployment(environ=ENVIRON, endpoint=endpoint)
    assert deployment.endpoint is endpoint


@pytest.mark.parametrize(("returncode", "status"), [(0, 0), (3, 3), (-9, 137), (-15, 143)])
def test_exit_status_reads_like_a_shells(returncode, status):
    assert exit_status(returncode) == status
