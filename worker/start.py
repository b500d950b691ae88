"""Production start and shutdown: settings, engine, transport."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Mapping

import orjson
import uvloop

from worker import gc_tuning
from worker.content import hide_native
from worker.engine import event_delay
from worker.engine.early import EarlyProcess
from worker.engine.environment import build_environment, has_bytecode
from worker.engine.parent_death import set_pdeathsig_on_fork
from worker.engine.preflight import check_machine, find_machine
from worker.engine.process import PHASES, EngineProcess
from worker.engine.startup_tasks import LOCAL_CACHE, plan_startup_tasks
from worker.engine.startup_timing import StartupTimings, process_age_s
from worker.engine.watchdog import WatchdogLimits
from worker.errors import ExitCode
from worker.failure import end_start
from worker.logs import configure_logging, ignore_broken_output, redact_output
from worker.machine import MachineInfo
from worker.profile.pools import find_device_pool
from worker.redaction import Redactor
from worker.settings import Settings, load_settings
from worker.settings.endpoint import Mode, choose_mode
from worker.settings.engine_environment import cache_variables
from worker.settings.secrets import secret_values
from worker.sizing.requirement import check_capacity
from worker.transport import build_transport, find_leader

log = logging.getLogger(__name__)

ON_PLATFORM = "RUNPOD_ENDPOINT_ID"
"""RunPod sets it in every worker; the SDK then writes its log as JSON too."""

ENGINE_SHUTDOWN_S = 5
"""Time limit for vLLM's own processes to shut down. With vLLM's default of 0, its API server kills
them, including the process that removes their shared memory."""

ENGINE_ARGUMENTS = (
    "--disable-uvicorn-access-log",
    "--shutdown-timeout",
    str(ENGINE_SHUTDOWN_S),
)
"""Arguments that the worker adds to those of the settings."""

HEADLESS_ARGUMENTS = ("--headless", "--api-server-count", "0")
"""Arguments that the worker adds on a follower node."""

ENGINE_STOP_S = 10.0
"""Time limit for the shutdown of vLLM."""

CACHE_END_S = 5.0
"""Time limit to copy caches back at shutdown, because the platform limits the shutdown."""

SELF_TEST_S = 30.0
"""Minimum time for the self-test, even if loading has used all of the start time-out."""

FAILURE_DRAIN_S = 10.0
"""Time limit for jobs to report that the engine has died."""


def run_worker(environ: Mapping[str, str], early: EarlyProcess | None = None) -> int:
    """Serve jobs until a signal asks to stop or something fails; return the exit status.

    Args:
        environ: The process's environment.
        early: A process that becomes the engine.
    """
    ignore_broken_output()
    # Until the settings are loaded, credentials are recognized by their variables' names.
    redact = Redactor(secret_values((), environ))
    redact_output(redact)
    try:
        settings = load_settings(environ)
        mode = choose_mode(settings.endpoint, environ)
        redact = settings.redact
        redact_output(redact)
        configure_logging(settings.logging.level, redact, as_json=writes_json(settings, environ))
        for warning in (*settings.warnings, *check_capacity(settings)):
            log.warning("%s", warning)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(Worker(settings, environ, redact, mode, early).run())
    except Exception as error:  # noqa: BLE001  every failed start prints a reason and sends a report
        return end_start(error, environ, redact)


def writes_json(settings: Settings, environ: Mapping[str, str]) -> bool:
    """Return whether log lines are JSON."""
    chosen = settings.logging.format
    return chosen == "json" or (chosen == "auto" and bool(environ.get(ON_PLATFORM)))


def find_price(machine: MachineInfo) -> float | None:
    """Return the price of the machine's GPUs, US dollars per second; None if it is not known."""
    pool = find_device_pool(machine.gpu_name or "")
    if pool is None or pool.usd_per_s is None:
        return None
    return pool.usd_per_s * max(machine.gpus, 1)


def find_failure(jobs: asyncio.Task[str | None], failed: asyncio.Task[str]) -> str | None:
    """Return the failure that ends the worker; None for a regular shutdown.

    Args:
        jobs: The transport's task.
        failed: Waits for the failure of the engine.
    """
    if failed.done():
        return failed.result()
    # An exception of the transport is raised when the transport is drained.
    return jobs.result() if jobs.done() and jobs.exception() is None else None


class Worker:
    """Runs one worker from start to shutdown.

    Args:
        settings: The resolved configuration.
        environ: The process's environment, inherited by the engine.
        redact: Removes secrets from the output of the engine.
        mode: The transport.
        early: A process that becomes the engine.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        redact: Redactor,
        mode: Mode,
        early: EarlyProcess | None = None,
    ) -> None:
        self._settings = settings
        self._redact = redact
        self._leader = find_leader(settings, mode)
        self._transport = build_transport(settings, mode, self._leader)
        self._stop = asyncio.Event()
        self._serves = False
        self._timings = StartupTimings(
            process_age_s(),
            keeps_caches=settings.cache is not None,
            has_bytecode=has_bytecode("vllm"),
            usd_per_s=find_price(settings.machine),
        )
        variables = settings.engine_environment()
        if settings.cache is not None:
            variables |= cache_variables(LOCAL_CACHE, environ)
        if mode == "queue":
            variables[event_delay.VARIABLE] = "1"
        self._environment = build_environment(
            environ, variables, private_media=settings.requests.allow_private_media
        )
        self._startup_tasks = plan_startup_tasks(settings, self._environment, self._timings)
        serving = settings.serving
        self._engine = EngineProcess(
            [
                *settings.engine_arguments(),
                *ENGINE_ARGUMENTS,
                *(HEADLESS_ARGUMENTS if self._leader else ()),
            ],
            self._environment,
            on_phase=self._record_phase,
            on_output=self._forward_output,
            limits=WatchdogLimits(serving.engine_silence_timeout_s, serving.engine_stall_timeout_s),
            is_ready=self._leader.is_ready if self._leader else None,
            early=early,
        )

    async def run(self) -> int:
        """Start the engine, serve requests, shut down; return the exit status."""
        set_pdeathsig_on_fork(close_sockets=True)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._handle_stop_signal, number)
        if profile := self._settings.profile_text():
            log.info(profile)
        log.info("starting vLLM with %s", self._settings.model.name)
        try:
            self._timings.start_phase("preparing the transport")
            await self._transport.prepare()
            self._startup_tasks.start()
            self._timings.start_phase("preflight checks")
            await check_machine(self._settings.model.name, self._environment, find_machine())
            if not await self._start_engine():
                return ExitCode.OK
            return await self._serve()
        finally:
            await self._startup_tasks.stop()
            await self._engine.stop(ENGINE_STOP_S)
            await self._transport.close()
            log.info("stopped")

    def _forward_output(self, line: str) -> None:
        if not self._serves:
            self._timings.read_line(line)
        print(self._redact(hide_native(line)), flush=True)

    def _record_phase(self, name: str, seconds: float) -> None:
        title = PHASES.get(name, name)
        self._timings.start_phase(title if name != "ready" else "self-test and transport")
        log.info("engine, %4.1f s: %s", seconds, title)

    def _handle_stop_signal(self, number: int) -> None:
        # A second signal changes nothing: container runtimes may signal twice, and the shutdown has
        # a time limit anyway.
        if not self._stop.is_set():
            log.info("%s: accepting no more requests", signal.Signals(number).name)
        self._stop.set()

    async def _start_engine(self) -> bool:
        """Start the engine; return False if a stop signal came first."""
        start = asyncio.create_task(self._load())
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not start.done():
            start.cancel()
            await asyncio.wait({start})
            return False
        start.result()
        return True

    async def _load(self) -> None:
        serving = self._settings.serving
        # The engine's process began with it when this one did, and may be done.
        self._timings.start_phase("importing PyTorch")
        await self._engine.start(serving.start_timeout_s)
        if serving.self_test and self._leader is None:
            left_s = max(serving.start_timeout_s - self._engine.uptime_s, SELF_TEST_S)
            await self._engine.test(self._settings.model.served_name, left_s)

    async def _serve(self) -> int:
        transport = self._transport
        jobs = await transport.start(self._engine.client)
        gc_tuning.freeze_gc()
        if self._leader is None:
            log.info("ready: up to %d jobs at once", self._settings.serving.max_concurrency)
        else:
            cluster = self._settings.cluster
            log.info("ready: node %d of %d; rank 0 serves requests", cluster.rank, cluster.nodes)
        self._serves = True
        log.info("start: %s", orjson.dumps(self._timings.to_dict()).decode())
        self._startup_tasks.store_caches()
        failed = asyncio.create_task(self._engine.wait_failed())
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait({jobs, failed, stop}, return_when=asyncio.FIRST_COMPLETED)
        failure = find_failure(jobs, failed)
        transport.stop_accepting(failed=failure is not None)
        failed.cancel()
        if failure is not None:
            log.error("%s; this worker ends and another one takes over", failure)
            await self._engine.stop(grace_s=0)
            await transport.drain(FAILURE_DRAIN_S)
            return ExitCode.ENGINE_DIED
        await transport.drain(self._settings.serving.drain_timeout_s)
        await self._startup_tasks.finish(CACHE_END_S)
        return ExitCode.OK
