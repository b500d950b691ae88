"""Notice the end of one of vLLM's processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from worker.engine.process_exit import find_processes, wait_ended

Start = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def group() -> Iterator[tuple[int, Start]]:
    """A process group whose first process is not a process of vLLM, and a way to add some."""
    started = [subprocess.Popen(["sleep", "60"], process_group=0)]

    def start(title: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [title, "60"], executable="/bin/sleep", process_group=started[0].pid
        )
        started.append(process)
        return process

    yield started[0].pid, start
    for process in started:
        process.kill()
        process.wait()


def test_find_processes_returns_vllms_own_of_the_group(group):
    leader, start = group
    worker = start("VLLM::Worker_TP1")
    start("helper")
    assert find_processes(leader) == {worker.pid: "Worker_TP1"}
    assert find_processes(os.getpgrp()) == {}


def test_find_processes_knows_another_prefix(group):
    leader, start = group
    worker = start("mine::Worker")
    assert find_processes(leader, "mine::") == {worker.pid: "Worker"}


async def test_wait_ended_returns_when_one_process_is_killed(group):
    leader, start = group
    start("VLLM::Worker_TP0")
    victim = start("VLLM::Worker_TP1")
    waits = asyncio.create_task(wait_ended(leader))
    await asyncio.sleep(0.05)
    assert not waits.done()
    victim.kill()
    text = await asyncio.wait_for(waits, 10)
    assert text == f"vLLM's process Worker_TP1 (process id {victim.pid}) ended"


async def test_wait_ended_closes_its_descriptors_when_it_is_cancelled(group):
    leader, start = group
    start("VLLM::Worker_TP0")
    before = set(os.listdir("/proc/self/fd"))
    waits = asyncio.create_task(wait_ended(leader))
    await asyncio.sleep(0.05)
    waits.cancel()
    await asyncio.wait({waits})
    assert set(os.listdir("/proc/self/fd")) <= before
