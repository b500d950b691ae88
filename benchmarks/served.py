"""Systems with HTTP: the worker in both of its modes, and `vllm serve`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks.systems import START_TIMEOUT_S, STOP_S, EndedError
from benchmarks.worker_vllm import find_free_port, make_shim
from worker.engine.environment import build_environment
from worker.engine.parent_death import die_with_parent
from worker.settings import load_settings
from worker.start import ENGINE_ARGUMENTS

SERVE, HTTP, QUEUE = "vllm serve", "worker, HTTP", "worker, queue"

ASK_AGAIN_S = 0.2

OWN_SERVERS = "--api-server-count"
"""Options of the worker that `vllm serve` does not get, because its default is one API server."""


@dataclass(frozen=True, slots=True)
class Service:
    """Command and address of a system.

    Attributes:
        name: As tables call it.
        command: Command line without the port, which follows it.
        environ: Whole environment, without the variable `PORT`.
        health: Path that answers 200 when the system is ready.
        base: Path before those of OpenAI's API.
    """

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str]
    health: str
    base: str = ""


class Server:
    """One running service.

    Args:
        service: Which one.
        log: File for what it prints.
    """

    def __init__(self, service: Service, log: Path) -> None:
        self.service = service
        self.name = service.name
        self._origin = f"http://127.0.0.1:{(port := find_free_port())}"
        self._port = str(port)
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The root of the system's processes."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    @property
    def url(self) -> str:
        """The URL before the paths of OpenAI's API."""
        return self._origin + self.service.base

    async def start(self) -> float:
        """Start the service and return the seconds until it was ready.

        Raises:
            EndedError: It ended, or was not ready in time.
        """
        began_s = time.monotonic()
        with self._log.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self.service.command,
                *(("--port", self._port) if self.service.name != HTTP else ()),
                stdout=output,
                stderr=output,
                env={**self.service.environ, "PORT": self._port},
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        async with aiohttp.ClientSession() as session:
            while not await self._is_ready(session):
                late = time.monotonic() - began_s > START_TIMEOUT_S
                if late or self._process.returncode is not None:
                    raise EndedError(f"{self.name} did not start", self._log)
                await asyncio.sleep(ASK_AGAIN_S)
        return time.monotonic() - began_s

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        with suppress(aiohttp.ClientError, TimeoutError):
            limit = aiohttp.ClientTimeout(total=5)
            async with session.get(self._origin + self.service.health, timeout=limit) as response:
                if self.name != QUEUE or response.status != 200:
                    return response.status == 200
                return bool((await response.json())["workers"]["idle"])
        return False

    async def stop(self) -> None:
        """Stop the service and all of its processes."""
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), STOP_S)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()


def make_services(environ: Mapping[str, str], shim: Path, rtt_ms: float) -> dict[str, Service]:
    """Return every service by its name; all serve the same model with the same options.

    Args:
        environ: Environment with the worker's settings.
        shim: Empty folder for the `vllm` command.
        rtt_ms: Round trip between worker and platform, for the queue mode.
    """
    make_shim(shim)
    settings = load_settings(environ)
    worker = (sys.executable, "-m", "worker")
    path = f"{shim}:{environ.get('PYTHONPATH', '')}".rstrip(":")
    engine = build_environment({**environ, "PYTHONPATH": path}, settings.engine_environment())
    # The worker registers it inside vLLM's process.
    engine.pop("VLLM_MEDIA_CONNECTOR", None)
    arguments = drop_option([*settings.engine_arguments(), *ENGINE_ARGUMENTS], OWN_SERVERS)
    services = (
        Service(HTTP, (*worker, "start", "--mode", "load-balancer"), environ, "/ping"),
        Service(SERVE, (str(shim / "vllm"), "serve", *arguments), engine, "/health"),
        Service(
            QUEUE,
            (*worker, "dev", "--rtt-ms", str(rtt_ms)),
            environ,
            "/v2/local/health",
            "/v2/local/openai",
        ),
    )
    return {service.name: service for service in services}


def drop_option(arguments: list[str], option: str) -> list[str]:
    """Return command line arguments without `option` and its value."""
    if option not in arguments:
        return arguments
    place = arguments.index(option)
    return arguments[:place] + arguments[place + 2 :]
