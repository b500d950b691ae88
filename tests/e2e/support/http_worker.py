"""The worker that serves HTTP itself: as a process, or here with the engine of another worker."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.support.deployment import connect_engine
from tests.support.ports import free_port
from worker.settings import load_settings
from worker.transport import HttpTransport
from worker_tools.dev import LocalDeployment

WORKER = str(Path(sys.executable).with_name("worker"))

STOP_S = 5.0
"""For the requests that still run where `serve_http_with` ends."""


class Server:
    """`worker start` as a process, with what it answered until it was ready."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, health_port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.health_url = f"http://127.0.0.1:{health_port}/ping"
        self.output: list[str] = []
        self.health: list[int] = []
        self.refused: dict[str, Any] = {}
        self.first_answer_s = 0.0
        self.ready_s = 0.0

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.output.append(line.decode())

    async def wait_ready(self, session: aiohttp.ClientSession) -> None:
        """Ask from the first moment on, as the platform does."""
        began = time.monotonic()
        while self.process.returncode is None:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with session.get(self.health_url) as response:
                    self.first_answer_s = self.first_answer_s or time.monotonic() - began
                    self.health.append(response.status)
                    if response.status == 200:
                        self.ready_s = time.monotonic() - began
                        return
                if not self.refused:
                    async with session.post(self.url + "/v1/completions", json={}) as response:
                        self.refused = (await response.json())["error"]
            await asyncio.sleep(0.05)
        pytest.fail("".join(self.output[-40:]))


async def run(*command: str, **environ: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command,
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=2**20,
    )


@contextlib.asynccontextmanager
async def serve_http(
    session: aiohttp.ClientSession, environ: dict[str, str], mode: str = "load-balancer"
) -> AsyncIterator[Server]:
    """Serve until the context ends; `session` has what its key asks for."""
    port, health_port = free_port(), free_port()
    ports = {"PORT": str(port), "PORT_HEALTH": str(health_port)}
    process = await run(WORKER, "start", "--mode", mode, **environ, **ports)
    server = Server(process, port, health_port)
    reader = asyncio.create_task(server.read())
    try:
        await server.wait_ready(session)
        yield server
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reader


@contextlib.asynccontextmanager
async def serve_http_with(deployment: LocalDeployment) -> AsyncIterator[str]:
    """Serve HTTP from this process with the vLLM of a deployment's worker; yield the URL.

    A second engine takes half a minute to start. `serve_http` tests the start and the shutdown.
    """
    ports = {"PORT": str(free_port()), "PORT_HEALTH": str(free_port())}
    transport = HttpTransport(load_settings(deployment.environ | ports), "load-balancer")
    client = connect_engine(deployment.processes[0].pid)
    await transport.prepare()
    runs = await transport.start(client)
    try:
        yield f"http://127.0.0.1:{ports['PORT']}"
    finally:
        runs.cancel()
        transport.stop_accepting(failed=False)
        await transport.drain(STOP_S)
        await transport.close()
        await client.close()
