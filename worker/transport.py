"""Transports: the source of requests is RunPod's job queue, or HTTP requests from clients."""

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
from worker.profile.pools import find_device_pool
from worker.request import Batching, Code, RequestDefaults, request_error
from worker.serve import (
    ConnectionLimits,
    Cors,
    FollowerMonitor,
    HttpServer,
    HttpServerConfig,
    LeaderMonitor,
    State,
)
from worker.settings import Settings
from worker.settings.endpoint import Mode, choose_ports
from worker.stream.flush_policy import StreamLoad
from worker.telemetry import MetricsPusher
from worker.tracing import JobTracer
from worker.usage import UsageMeter

log = logging.getLogger(__name__)

SDK_VERSION = "1.12.0"
"""RunPod's SDK as pyproject.toml pins it; the job loop replaces private parts of this version."""

CUSTOM_CHECKS = "runpod.serverless"
"""Imported only if the user registered a fitness check."""

DEFAULT_MAX_CONNECTIONS = 1000
"""Default limit of open HTTP connections."""

ABORT_S = 5.0
"""Time limit to report aborted jobs, and for open requests to the platform."""


class Transport(Protocol):
    """A source of requests."""

    async def prepare(self) -> None:
        """Prepare while vLLM starts."""

    async def start(self, client: EngineClient) -> asyncio.Task[Any]:
        """Answer requests with vLLM from now on; return a task that runs as long as the transport.

        Its result is the reason why this worker cannot serve any more; None if there is none.
        """

    def stop_accepting(self, *, failed: bool) -> None:
        """Accept no more requests; `failed` means that vLLM has died."""

    async def drain(self, timeout_s: float) -> None:
        """Let running requests end within `timeout_s` seconds, then end them with an error."""

    async def close(self) -> None:
        """Release what `prepare` acquired."""


class QueueTransport:
    """RunPod's job queue.

    Args:
        settings: The resolved configuration.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sdk: asyncio.Task[ModuleType] | None = None
        self._scaler: Any = None
        self._jobs: asyncio.Task[None] | None = None
        self._options: HandlerOptions | None = None

    async def prepare(self) -> None:
        """Import the SDK in the background; it takes two seconds.

        Raises:
            UnavailableError: The installed SDK has another version than the pinned one.
        """
        check_sdk_version()
        if CUSTOM_CHECKS in sys.modules:
            # Before vLLM has the GPU; a failed one ends the process.
            await _import_queue(self._settings).sdk.run_fitness_checks()
        self._sdk = asyncio.create_task(asyncio.to_thread(_import_queue, self._settings))

    async def start(self, client: EngineClient) -> asyncio.Task[None]:
        """Fetch jobs from now on."""
        if self._sdk is None:
            raise RuntimeError("not prepared")
        queue = await self._sdk
        self._options = options = build_options(self._settings)
        handler = Handler(client, build_stream_load(self._settings), options)
        self._scaler = queue.EventDrivenScaler(
            handler.handle, self._settings.serving.max_concurrency, options.meter
        )
        queue.sdk.start_heartbeat(self._settings.serving.max_concurrency)
        self._jobs = asyncio.create_task(self._scaler.run())
        return self._jobs

    def stop_accepting(self, *, failed: bool) -> None:
        """Fetch no more jobs."""
        self._scaler.kill_worker()

    async def drain(self, timeout_s: float) -> None:
        """Let running jobs end within `timeout_s` seconds, then end them with an error."""
        if self._jobs is not None:
            await finish_jobs(self._scaler, self._jobs, timeout_s)

    async def close(self) -> None:
        """Push the last metrics and spans; the SDK holds no resources here."""
        await close_telemetry(self._options)


class HttpTransport:
    """HTTP requests from clients.

    Args:
        settings: The resolved configuration.
        mode: Determines the default ports.
    """

    def __init__(self, settings: Settings, mode: Mode) -> None:
        self._settings = settings
        self._options: HandlerOptions | None = None
        endpoint = settings.endpoint
        port, health_port = choose_ports(endpoint, mode)
        key = endpoint.api_key
        nodes = settings.cluster.size
        self._followers = FollowerMonitor(nodes) if nodes > 1 else None
        self._server = HttpServer(
            HttpServerConfig(
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
                "WORKER_API_KEY is not set: anyone who can reach port %d can use the model", port
            )

    async def prepare(self) -> None:
        """Listen and answer health checks."""
        await self._server.prepare()

    async def start(self, client: EngineClient) -> asyncio.Task[Any]:
        """Answer requests from now on."""
        self._options = options = build_options(self._settings)
        self._server.start(client, build_stream_load(self._settings), options)
        waits = asyncio.Event().wait if self._followers is None else self._followers.wait_gone
        return asyncio.create_task(waits())

    def stop_accepting(self, *, failed: bool) -> None:
        """Accept no more requests; running ones continue."""
        self._server.stop_accepting(State.FAILED if failed else State.STOPPING)

    async def drain(self, timeout_s: float) -> None:
        """Let running requests end within `timeout_s` seconds, then end them with an error."""
        await self._server.drain(timeout_s)

    async def close(self) -> None:
        """Close all ports and push the last metrics and spans."""
        await self._server.close()
        await close_telemetry(self._options)


class FollowerTransport:
    """Follower node of a cluster: serves no requests and exits with the leader.

    Args:
        leader: The node that serves requests.
    """

    def __init__(self, leader: LeaderMonitor) -> None:
        self._leader = leader
        self._watch: asyncio.Task[str | None] | None = None

    async def prepare(self) -> None:
        """Do nothing; a follower needs no preparation."""

    async def start(self, client: EngineClient) -> asyncio.Task[str | None]:
        """Monitor the leader; the task ends when the leader has ended."""
        self._watch = asyncio.create_task(self._leader.wait_gone())
        return self._watch

    def stop_accepting(self, *, failed: bool) -> None:
        """Do nothing; a follower has no requests."""

    async def drain(self, timeout_s: float) -> None:
        """Do nothing; a follower has no requests."""

    async def close(self) -> None:
        """Stop monitoring the leader."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait({self._watch})
        await self._leader.close()


def build_transport(settings: Settings, mode: Mode, leader: LeaderMonitor | None) -> Transport:
    """Return the transport for this mode; a node with a leader serves no requests."""
    if leader is not None:
        return FollowerTransport(leader)
    if mode != "queue":
        return HttpTransport(settings, mode)
    if build_cors(settings) is not None:
        log.warning("ALLOWED_ORIGINS has no effect: RunPod answers browsers for a queue endpoint")
    return QueueTransport(settings)


def find_leader(settings: Settings, mode: Mode) -> LeaderMonitor | None:
    """Return the node that serves requests for this one; None if this one serves itself."""
    cluster, endpoint = settings.cluster, settings.endpoint
    if not cluster.is_follower:
        return None
    # All nodes have the same settings, hence the same ports.
    _port, health_port = choose_ports(endpoint, mode)
    url = f"http://{cluster.first_address}:{health_port}{endpoint.health_path}"
    return LeaderMonitor(url, cluster.rank)


def build_stream_load(settings: Settings) -> StreamLoad:
    """Return what all streams of this worker share."""
    return StreamLoad(settings.streaming.max_delay_ms / 1000)


def build_cors(settings: Settings) -> Cors | None:
    """Return the CORS rules of the HTTP server; None if no other origin may use it."""
    options = {
        "origins": "allowed_origins",
        "methods": "allowed_methods",
        "headers": "allowed_headers",
        "credentials": "allow_credentials",
    }
    found = {name: settings.values.find(key) for name, key in options.items()}
    given = {name: item.value for name, item in found.items() if item is not None}
    return Cors(**given) if given.get("origins") else None


def build_limits(settings: Settings) -> ConnectionLimits:
    """Return the limits of connections and time per client."""
    http = settings.http
    connections = http.max_connections
    if connections is None:
        connections = max(DEFAULT_MAX_CONNECTIONS, 2 * settings.serving.max_concurrency)
    return ConnectionLimits(
        connections, http.header_timeout_s, http.body_timeout_s, http.write_timeout_s
    )


def build_options(settings: Settings) -> HandlerOptions:
    """Return the handler's options from the settings."""
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
        meter=build_meter(settings),
        tracer=build_tracer(settings),
    )


def build_tracer(settings: Settings) -> JobTracer | None:
    """Return the tracer of jobs; None if vLLM does not trace requests."""
    endpoint = settings.values.find("otlp_traces_endpoint")
    return None if endpoint is None else JobTracer(endpoint.value)


async def close_telemetry(options: HandlerOptions | None) -> None:
    """Push the last metrics and spans; the event loop runs meanwhile."""
    for pusher in (options.meter, options.tracer) if options is not None else ():
        if pusher is not None:
            await asyncio.to_thread(pusher.close)


def build_meter(settings: Settings) -> UsageMeter | None:
    """Return the meter for usage records and metrics; None if both are off."""
    endpoint = settings.logging.otlp_metrics_endpoint
    if not settings.logging.usage_records and endpoint is None:
        return None
    machine = settings.machine
    pool = find_device_pool(machine.gpu_name or "")
    price = None if pool is None else pool.usd_per_s
    return UsageMeter(
        max(machine.gpus, 1),
        settings.model.served_name,
        price,
        logs=settings.logging.usage_records,
        pusher=None if endpoint is None else MetricsPusher(endpoint),
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
        scaler: The scaler; it fetches no more jobs.
        jobs: Its `run`.
        timeout_s: Seconds; reporting the errors may take `ABORT_S` more.
    """
    await asyncio.wait({jobs}, timeout=timeout_s)
    if not jobs.done():
        message = f"The worker was stopped, and the job did not finish within {timeout_s:g} s."
        scaler.abort_jobs(request_error(Code.WORKER_STOPPING, message))
        await asyncio.wait({jobs}, timeout=ABORT_S)
    if not jobs.done():
        log.error("RunPod did not accept the last results within %g s", ABORT_S)
        jobs.cancel()
        return
    await jobs


def _import_queue(settings: Settings) -> ModuleType:
    """Import the SDK, at the log level of the settings; its own default prints every token."""
    queue = importlib.import_module("worker.queue")
    queue.sdk.set_log_level(settings.logging.level)
    queue.sdk.hide_secrets(settings.redact)
    return queue
