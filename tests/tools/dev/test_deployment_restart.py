"""Workers that are replaced by others with another environment, under one endpoint."""

import asyncio
import os
import sys

import pytest

ENVIRON = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
FAILS = (sys.executable, "-c", "import sys; sys.exit(3)")


@pytest.fixture
async def running(stock_deployment):
    async with stock_deployment(environ=ENVIRON, on_output=lambda *_: None) as deployment:
        await deployment.wait_ready()
        yield deployment


def read_environment(pid):
    with open(f"/proc/{pid}/environ", "rb") as file:
        return dict(part.partition(b"=")[::2] for part in file.read().split(b"\0"))


async def test_restart_starts_workers_with_the_new_environment(running):
    old = running.processes[0].pid
    waiting = asyncio.create_task(running.wait())
    await running.restart({**ENVIRON, "MAX_NUM_SEQS": "4"})
    await running.wait_ready()
    assert running.processes[0].pid != old
    assert read_environment(running.processes[0].pid)[b"MAX_NUM_SEQS"] == b"4"
    assert not waiting.done()
    waiting.cancel()


async def test_restart_lets_running_jobs_end_and_queued_ones_wait(running, session, connect):
    api = connect(running.endpoint, session)
    slow = await api.run({"sleep_s": 0.5, "text": "a"})
    async with asyncio.timeout(5):
        while running.endpoint.jobs[slow].status != "IN_PROGRESS":
            await asyncio.sleep(0.01)
    restart = asyncio.create_task(running.restart(ENVIRON))
    await asyncio.sleep(0.05)
    queued = await api.run({"text": "b"})
    await restart
    assert await running.endpoint.jobs[slow].finished(10)
    assert await running.endpoint.jobs[queued].finished(20)
    assert running.endpoint.jobs[slow].attempt == 1
    assert running.endpoint.jobs[slow].output == ["a0"]
    assert running.endpoint.jobs[queued].output == ["b0"]


async def test_restart_that_fails_leaves_the_endpoint_for_another_one(running):
    waiting = asyncio.create_task(running.wait())
    good, running.command = running.command, FAILS
    await running.restart(ENVIRON)
    assert await running.processes[0].wait() == 3
    await asyncio.sleep(0.1)
    assert not waiting.done()
    running.command = good
    await running.restart(ENVIRON)
    await running.wait_ready()
    running.processes[0].kill()
    assert await asyncio.wait_for(waiting, 10) == 137


async def test_restart_during_a_restart_is_refused(running):
    first = asyncio.create_task(running.restart(ENVIRON))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="already"):
        await running.restart(ENVIRON)
    await first


async def test_stop_during_a_restart_leaves_no_worker(running):
    restart = asyncio.create_task(running.restart(ENVIRON))
    await asyncio.sleep(0.01)
    await running.stop()
    await asyncio.wait({restart}, timeout=10)
    assert all(not p.started or p.returncode is not None for p in running.processes)
