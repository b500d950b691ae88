"""The production worker as a process that serves HTTP, with a fake engine."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.ports import free_port
from worker.engine.parent_death import group_is_alive

WORKER = Path(__file__).parents[1] / "fakes/engine_worker.py"
WAIT_S = 60
SERVE = "print('engine', os.getpid())\n"
QUESTION = {"model": "name", "prompt": "x"}


class Pod:
    """A worker process and what it printed."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process = process
        self.url = url
        self.lines: list[str] = []
        self.session = aiohttp.ClientSession()

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip())

    async def health(self) -> int:
        """Return the status of a health check, 0 while nobody listens."""
        with suppress(aiohttp.ClientConnectionError):
            async with self.session.get(self.url + "/ping") as response:
                return response.status
        return 0

    async def wait_health(self, status: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while await self.health() != status:
                await asyncio.sleep(0.01)

    async def ask(self) -> Any:
        async with self.session.post(self.url + "/v1/completions", json=QUESTION) as response:
            return response.status, (await response.json())["error"]["code"]

    @property
    def engine_pid(self) -> int:
        return next(int(line.split()[1]) for line in self.lines if line.startswith("engine "))

    async def exit_status(self) -> int:
        status = await asyncio.wait_for(self.process.wait(), WAIT_S)
        assert not group_is_alive(self.engine_pid)
        return status


@asynccontextmanager
async def start(do: str, **variables: str) -> AsyncIterator[Pod]:
    port = free_port()
    environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environ |= {"MODEL_NAME": "org/name", "WORKER_MODE": "pod", "PORT": str(port)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(WORKER),
        env={**environ, "SELF_TEST": "false", "FAKE_ENGINE_DO": SERVE + do, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    pod = Pod(process, f"http://127.0.0.1:{port}")
    reader = asyncio.create_task(pod.read())
    try:
        yield pod
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reader
        await pod.session.close()
