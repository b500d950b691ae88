"""Where requests come from: RunPod's job queue, or HTTP from the clients themselves."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import logging
import sys
from types import ModuleType
from typing import Any, Protocol

from worker.engine.client import EngineClient
from worker.errors import UnavailableError
from worker.handler import Handler, HandlerOptions
from worker.request import Batching, Code, RequestDefaults, fail
from worker.serve import (
    ConnectionLimits,
    Cors,
    Followers,
    FrontOptions,
    HttpFront,
    Leader,
    State,
)
from worker.settings import Settings
from worker.settings.mode import Mode, choose_ports
from worker.stream.flush_policy import StreamLoad

log = logging.getLogger(__name__)

SDK_VERSION = "1.12.0"
"""RunPod's SDK as pyproject.toml pins it; the job loop replaces private parts of this version."""

CUSTOM_CHECKS = "runpod.serverless"
"""Imported only if the user registered a fitness check."""

LEAST_CONNECTIONS = 1000
"""Open connections over HTTP, where no setting says how many."""

ABORT_S = 5.0
"""How long the report of jobs that were ended may take, and open requests to the platform."""


class Front(Protocol):
    """Where requests come from, and how they end."""

    async def open(self) -> None:
        """Prepare while vLLM starts."""

    async def begin(self, client: EngineClient) -> asyncio.Task[Any]:
        """Answer requests with vLLM from now on; return a task that ends only with the front.

        Its result says what this worker has lost and cannot serve without; None if nothing.
        """

    def refuse(self, *, failed: bool) -> None:
        """Take no more requests; `failed` says that vLLM has died."""

    async def finish(self, timeout_s: float) -> None:
        """Let running requests end within `timeout_s` seconds, then end them with an error."""

    async def close(self) -> None:
        """Give back what `open` took."""


class QueueFront:
    """RunPod's job queue.

    Args:
        settings: The resolved configuration.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sdk: asyncio.Task[ModuleType] | None = None
        self._scaler: Any = None
        self._jobs: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Import the SDK in the background; it takes two seconds.

        Raises:
            UnavailableError: The installed SDK has another version than the pinned one.
        """
        check_sdk_version()
        if CUSTOM_CHECKS in sys.modules:
            # Before vLLM has the GPU; a failed one ends the process.
            await _import_queue(self._settings).sdk.run_fitness_checks()
        self._sdk = asyncio.create_task(asyncio.to_thread(_import_queue, self._settings))

    async def begin(self, client: EngineClient) -> asyncio.Task[None]:
        """Take jobs from now on."""
        if self._sdk is None:
            raise RuntimeError("not open")
        queue = await self._sdk
        handler = Handler(client, build_stream_load(self._settings), build_options(self._settings))
        self._scaler = queue.EventDrivenScaler(
            handler.handle, self._settings.serving.max_concurrency
        )
        queue.sdk.start_heartbeat(self._settings.serving.max_concurrency)
        self._jobs = asyncio.create_task(self._scaler.run())
        return self._jobs

    def refuse(self, *, failed: bool) -> None:
        """Take no more jobs."""
        self._scaler.kill_worker()

    async def finish(self, timeout_s: float) -> None:
        """Let running jobs end within `timeout_s` seconds, then end them with an error."""
        if self._jobs is not None:
            await finish_jobs(self._scaler, self._jobs, timeout_s)

    async def close(self) -> None:
        """There is nothing to give back."""


class HttpServer:
    """HTTP from the clients themselves.

    Args:
        settings: The resolved configuration.
        mode: Decides the ports that nobody set.
    """

    def __init__(self, settings: Settings, mode: Mode) -> None:
        self._settings = settings
        endpoint = settings.endpoint
        port, health_port = choose_ports(endpoint, mode)
        key = endpoint.api_key
        machines = settings.cluster.size
        self._followers = Followers(machines) if machines > 1 else None
        self._front = HttpFront(
            FrontOptions(
                port,
                health_port,
                endpoint.health_path,
                None if key is None else key.get_secret_value(),
                settings.serving.max_concurrency,
                cors=build_cors(settings),
                limits=build_limits(settings),
            ),
            self._followers,
        )
        if key is None and mode == "pod":
            log.warning(
                "WORKER_API_KEY is not set: whoever reaches port %d can use the model", port
            )

    async def open(self) -> None:
        """Listen; health checks get an answer from now on."""
        await self._front.open()

    async def begin(self, client: EngineClient) -> asyncio.Task[Any]:
        """Answer requests from now on."""
        self._front.begin(client, build_stream_load(self._settings), build_options(self._settings))
        waits = asyncio.Event().wait if self._followers is None else self._followers.wait_gone
        return asyncio.create_task(waits())

    def refuse(self, *, failed: bool) -> None:
        """Answer no more requests than those that run."""
        self._front.refuse(State.FAILED if failed else State.STOPPING)

    async def finish(self, timeout_s: float) -> None:
        """Let running requests end within `timeout_s` seconds, then end them with an error."""
        await self._front.finish(timeout_s)

    async def close(self) -> None:
        """Close all ports."""
        await self._front.close()


class Follower:
    """Nowhere: another machine of the cluster answers requests, and this one ends with it.

    Args:
        leader: That machine.
    """

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self._watch: asyncio.Task[str | None] | None = None

    async def open(self) -> None:
        """There is nothing to prepare."""

    async def begin(self, client: EngineClient) -> asyncio.Task[str | None]:
        """Watch the other machine; the task ends when that has gone."""
        self._watch = asyncio.create_task(self._leader.wait_gone())
        return self._watch

    def refuse(self, *, failed: bool) -> None:
        """There are no requests."""

    async def finish(self, timeout_s: float) -> None:
        """There are no requests."""

    async def close(self) -> None:
        """Look at the other machine no more."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait({self._watch})
        await self._leader.close()


def build_front(settings: Settings, mode: Mode, leader: Leader | None) -> Front:
    """Return where requests come from in this mode; from nowhere on a machine with a leader."""
    if leader is not None:
        return Follower(leader)
    if mode != "queue":
        return HttpServer(settings, mode)
    if build_cors(settings) is not None:
        log.warning("ALLOWED_ORIGINS has no effect: RunPod answers browsers for a queue endpoint")
    return QueueFront(settings)


def find_leader(settings: Settings, mode: Mode) -> Leader | None:
    """Return the machine that answers for this one, None where it answers itself."""
    cluster, endpoint = settings.cluster, settings.endpoint
    if not cluster.is_follower:
        return None
    # All machines have the same settings, so that its ports are known.
    _port, health_port = choose_ports(endpoint, mode)
    url = f"http://{cluster.first_address}:{health_port}{endpoint.health_path}"
    return Leader(url, cluster.rank)


def build_stream_load(settings: Settings) -> StreamLoad:
    """Return what all streams of this worker share."""
    return StreamLoad(settings.streaming.max_delay_ms / 1000)


def build_cors(settings: Settings) -> Cors | None:
    """Return which pages of other origins may use the HTTP server; None where none may."""
    given = {item.option.engine_key: item.value for item in settings.values}
    if not given.get("allowed_origins"):
        return None
    options = {
        "origins": "allowed_origins",
        "methods": "allowed_methods",
        "headers": "allowed_headers",
        "credentials": "allow_credentials",
    }
    return Cors(**{name: given[key] for name, key in options.items() if key in given})


def build_limits(settings: Settings) -> ConnectionLimits:
    """Return what clients may take of connections and time."""
    http = settings.http
    connections = http.max_connections
    if connections is None:
        connections = max(LEAST_CONNECTIONS, 2 * settings.serving.max_concurrency)
    return ConnectionLimits(
        connections, http.header_timeout_s, http.body_timeout_s, http.write_timeout_s
    )


def build_options(settings: Settings) -> HandlerOptions:
    """Return what the settings say about answering."""
    streaming, requests = settings.streaming, settings.requests
    batching = Batching(
        streaming.min_batch_size, streaming.max_batch_size, streaming.batch_size_growth_factor
    )
    defaults = RequestDefaults(
        settings.model.served_name,
        batching,
        max_tokens=requests.default_max_tokens,
        open_control_routes=requests.open_control_routes,
        reject_unknown=requests.reject_unknown_parameters,
        max_grammar_bytes=requests.max_grammar_bytes,
    )
    return HandlerOptions(
        defaults,
        settings.serving.request_timeout_s,
        streaming.raw_openai_output,
        parses_reasoning="--reasoning-parser" in settings.engine_arguments(),
    )


def check_sdk_version() -> None:
    """Check the version of the installed RunPod SDK without importing it.

    Raises:
        UnavailableError: It is not the pinned version, or the SDK is not installed.
    """
    try:
        installed = importlib.metadata.version("runpod")
    except importlib.metadata.PackageNotFoundError:
        installed = "none"
    if installed != SDK_VERSION:
        raise UnavailableError(
            f"This worker needs version {SDK_VERSION} of the RunPod SDK (installed: {installed}): "
            f"run `pip install runpod=={SDK_VERSION}`"
        )


async def finish_jobs(scaler: Any, jobs: asyncio.Task[None], timeout_s: float) -> None:
    """Let running jobs end within `timeout_s` seconds, then end them with an error.

    Args:
        scaler: The scaler; takes no jobs any more.
        jobs: Its `run`.
        timeout_s: Seconds; reporting the errors may take `ABORT_S` more.
    """
    await asyncio.wait({jobs}, timeout=timeout_s)
    if not jobs.done():
        message = f"The worker was stopped and the job did not end within {timeout_s:g} s."
        scaler.abort_jobs(fail(Code.WORKER_STOPPING, message))
        await asyncio.wait({jobs}, timeout=ABORT_S)
    if not jobs.done():
        log.error("RunPod did not take the last results within %g s", ABORT_S)
        jobs.cancel()
        return
    await jobs


def _import_queue(settings: Settings) -> ModuleType:
    """Import the SDK, at the log level of the settings; its own default prints every token."""
    queue = importlib.import_module("worker.queue")
    queue.sdk.set_log_level(settings.logging.level)
    queue.sdk.hide_secrets(settings.redact)
    return queue
