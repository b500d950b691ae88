"""Systems with HTTP: the worker in both of its modes, and the systems it is compared with."""

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
from pydantic import TypeAdapter

from benchmarks.client import Load, LoadError, ask
from benchmarks.engine_server import PATH, LoadRequest
from benchmarks.systems import START_TIMEOUT_S, STOP_S, EndedError
from benchmarks.worker_vllm import build_worker_vllm, find_free_port, make_shim
from worker.engine.environment import build_environment
from worker.engine.parent_death import die_with_parent
from worker.settings import Settings, load_settings
from worker.start import ENGINE_ARGUMENTS

SERVE, HTTP, QUEUE = "vllm serve", "worker, HTTP", "worker, queue"
ENGINE, WORKER_VLLM = "engine", "worker-vllm"
CONTROL = "vllm serve, control"
"""A second `vllm serve`: what it differs by from the first is noise."""

QUEUE_HEALTH, QUEUE_BASE = "/v2/local/health", "/v2/local/openai"

ASK_AGAIN_S = 0.2

OWN_SERVERS = "--api-server-count"
"""Options of the worker that `vllm serve` does not get, because its default is one API server."""


@dataclass(frozen=True, slots=True)
class Service:
    """Command and address of a system.

    Attributes:
        name: As tables call it.
        command: Command line.
        environ: Whole environment, without the variable `PORT`.
        health: Path that answers 200 when the system is ready.
        base: Path before those of OpenAI's API; a queue has one.
        takes_port: Whether the command line needs `--port`; the variable is always set.
    """

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str]
    health: str = "/health"
    base: str = ""
    takes_port: bool = True


class Server:
    """One running service.

    Args:
        service: Which one.
        log: File for what it prints.

    Attributes:
        origin: The URL without a path.
    """

    def __init__(self, service: Service, log: Path) -> None:
        self.service = service
        self.name = service.name
        self.origin = f"http://127.0.0.1:{(port := find_free_port())}"
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
        return self.origin + self.service.base

    async def start(self) -> float:
        """Start the service and return the seconds until it was ready.

        Raises:
            EndedError: It ended, or was not ready in time.
        """
        began_s = time.monotonic()
        with self._log.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self.service.command,
                *(("--port", self._port) if self.service.takes_port else ()),
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
            async with session.get(self.origin + self.service.health, timeout=limit) as response:
                if not self.service.base or response.status != 200:
                    return response.status == 200
                return bool((await response.json())["workers"]["idle"])
        return False

    async def ask(self, model: Path, load: Load, seed: int) -> dict[str, float]:
        """Run a load and return its figures; the arguments are those of `ask`.

        Raises:
            LoadError: Not every request was answered.
        """
        if self.name != ENGINE:
            return await ask(self.url, model, load, seed)
        body = TypeAdapter(LoadRequest).dump_json(LoadRequest(model, load, seed))
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session,
            session.post(self.origin + PATH, data=body) as response,
        ):
            if response.status != 200:
                raise LoadError(await response.text())
            figures: dict[str, float] = await response.json()
            return figures

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


def make_services(
    environ: Mapping[str, str], folder: Path, rtt_ms: float, worker_vllm: Path | None = None
) -> dict[str, Service]:
    """Return every service by its name; all serve the same model with the same options.

    Args:
        environ: Environment with the worker's settings.
        folder: Folder for the `vllm` command.
        rtt_ms: Round trip between worker and platform, for the queue.
        worker_vllm: Checkout of worker-vllm; None leaves it out.
    """
    (shim := folder / "shim").mkdir()
    make_shim(shim)
    settings = load_settings(environ)
    python = (sys.executable, "-m")
    engine = build_vllm_environment(environ, settings, shim)
    options = drop_option(list(settings.engine_arguments()), OWN_SERVERS)
    start = (*python, "worker", "start", "--mode", "load-balancer")
    dev = (*python, "worker", "dev", "--rtt-ms", str(rtt_ms))
    serve = (str(shim / "vllm"), "serve", *options, *ENGINE_ARGUMENTS)
    services = [
        Service(SERVE, serve, engine),
        Service(CONTROL, serve, engine),
        Service(ENGINE, (*python, "benchmarks.engine_server", *options), engine),
        Service(HTTP, start, environ, "/ping", takes_port=False),
        Service(QUEUE, dev, environ, QUEUE_HEALTH, QUEUE_BASE),
    ]
    if worker_vllm is not None:
        (other := folder / "worker-vllm").mkdir()
        program = build_worker_vllm(worker_vllm, environ, other)
        command = (*python, "benchmarks.queue_server", str(rtt_ms), *program.command)
        services.append(
            Service(
                WORKER_VLLM, command, program.environ, QUEUE_HEALTH, QUEUE_BASE, takes_port=False
            )
        )
    return {service.name: service for service in services}


def build_vllm_environment(
    environ: Mapping[str, str], settings: Settings, shim: Path
) -> dict[str, str]:
    """Return the environment of vLLM's own commands, with the engine's part of the settings.

    Args:
        environ: Environment with the worker's settings.
        settings: What was read from it.
        shim: Folder with the `vllm` command.
    """
    path = f"{shim}:{environ.get('PYTHONPATH', '')}".rstrip(":")
    engine = build_environment({**environ, "PYTHONPATH": path}, settings.engine_environment())
    # The worker registers it inside vLLM's process.
    engine.pop("VLLM_MEDIA_CONNECTOR", None)
    return engine


def drop_option(arguments: list[str], option: str) -> list[str]:
    """Return command line arguments without `option` and its value."""
    if option not in arguments:
        return arguments
    place = arguments.index(option)
    return arguments[:place] + arguments[place + 2 :]
