"""Two machines of a cluster as processes, each with a fake engine."""

from __future__ import annotations

import asyncio

from tests.support.pod import WAIT_S, Pod, start
from tests.support.ports import free_port
from worker.errors import ExitCode

ARGUMENTS = "print('arguments', *arguments, flush=True)\n"


def cluster(rank: int, leader: Pod | None = None) -> dict[str, str]:
    """What RunPod and the user set on one machine; the second's own port is the first's."""
    variables = {
        "MULTI_NODE": "true",
        "NUM_NODES": "2",
        "NODE_RANK": str(rank),
        "PRIMARY_ADDR": "127.0.0.1",
        "PRIMARY_PORT": str(free_port()),
        "NODE_ADDR": "127.0.0.1",
        "PIPELINE_PARALLEL_SIZE": "2",
    }
    return variables if leader is None else {**variables, "PORT": leader.url.rpartition(":")[2]}


async def wait_line(pod: Pod, text: str) -> str:
    async with asyncio.timeout(WAIT_S):
        while True:
            for line in pod.lines:
                if text in line:
                    return line
            await asyncio.sleep(0.01)


async def test_second_machine_is_headless_ready_with_the_first_and_ends_with_it():
    async with (
        start("serve(200)", **cluster(0)) as first,
        start(ARGUMENTS + "time.sleep(60)", **cluster(1, first)) as second,
    ):
        await wait_line(second, "ready: node 1 of 2; rank 0 serves requests")
        arguments = await wait_line(second, "arguments ")
        assert "--headless --api-server-count 0" in arguments
        assert "--nnodes 2 --node-rank 1 --master-addr 127.0.0.1" in arguments
        assert await first.health() == 200
        first.process.terminate()
        assert await first.exit_status() == ExitCode.OK
        assert await second.exit_status() == ExitCode.OK


async def test_engine_that_dies_on_the_second_machine_ends_that_one():
    async with (
        start("serve(200)", **cluster(0)) as first,
        start("time.sleep(1.5)", **cluster(1, first)) as second,
    ):
        # Before or after it was ready: both are failures, each with its own status.
        failures = (ExitCode.ENGINE_START, ExitCode.ENGINE_DIED)
        assert await second.exit_status() in failures
        first.process.kill()


async def test_sigterm_ends_the_second_machine_in_order():
    async with start("time.sleep(60)", **cluster(1)) as second:
        await wait_line(second, "engine ")
        second.process.terminate()
        assert await second.exit_status() == ExitCode.OK
