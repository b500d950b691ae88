"""Production start: settings, engine, queue; and the orderly end of all three."""

from __future__ import annotations

import asyncio
import importlib
import logging
import signal
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import uvloop

from worker.config import Settings, load_settings
from worker.config.check import open_console, report_problems
from worker.engine.environment import build_environment
from worker.engine.lifeline import tie_forks_to_parent
from worker.engine.process import PHASES, EngineProcess
from worker.errors import ConfigurationError, ExitCode, UnavailableError, WorkerError
from worker.handler import Handler, HandlerOptions
from worker.logs import Redactor, configure_logging
from worker.request import Batching, Code, RequestDefaults, fail
from worker.stream.pacing import Pacing

log = logging.getLogger(__name__)

JOB_SOURCE = "RUNPOD_WEBHOOK_GET_JOB"
"""RunPod sets it in every queue worker; the SDK takes jobs from there."""

ENGINE_SHUTDOWN_S = 5
"""How long vLLM's own processes may take to end in order. With vLLM's default of 0 its API server
kills them, with the process that would have removed their shared memory."""

ENGINE_ARGUMENTS = (
    "--disable-uvicorn-access-log",
    "--shutdown-timeout",
    str(ENGINE_SHUTDOWN_S),
)
"""What the worker adds to the arguments that the settings make."""

ENGINE_STOP_S = 10.0
"""How long vLLM may take to end in order, at the end."""

FAILURE_DRAIN_S = 10.0
"""How long jobs may take to report that their engine has died."""

ABORT_S = 5.0
"""How long the report of jobs that were ended may take, and open requests to the platform."""


def run_worker(environ: Mapping[str, str]) -> int:
    """Serve jobs until a signal asks to stop or something fails; return the exit status."""
    redact = Redactor(())
    try:
        settings = load_settings(environ)
        if not environ.get(JOB_SOURCE):
            raise UnavailableError(
                f"{JOB_SOURCE} is not set, so there is no queue to take jobs from. RunPod sets it "
                "in its workers; on your own machine use `worker dev`"
            )
        redact = Redactor(settings.secret_values())
        configure_logging(settings.logging.level, redact)
        for warning in settings.warnings:
            log.warning("%s", warning)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(Worker(settings, environ, redact).run())
    except ConfigurationError as error:
        report_problems(error.problems, console=open_console(stderr=True))
        return int(error.exit_code)
    except WorkerError as error:
        print(redact(f"error: {error}"), file=sys.stderr, flush=True)
        return int(error.exit_code)


class Worker:
    """One worker's life.

    Args:
        settings: The resolved configuration.
        environ: The process's environment, inherited by the engine.
        redact: Removes secrets from what the engine prints.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str], redact: Redactor) -> None:
        self._settings = settings
        self._stop = asyncio.Event()
        self._engine = EngineProcess(
            [*settings.engine_arguments(), *ENGINE_ARGUMENTS],
            build_environment(environ, settings.engine_environment()),
            on_phase=_log_phase,
            on_output=lambda line: print(redact(line), flush=True),
        )

    async def run(self) -> int:
        """Start the engine, serve jobs, end; return the exit status."""
        tie_forks_to_parent(close_sockets=True)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop, number)
        log.info("starting vLLM with %s", self._settings.model.name)
        try:
            # Two seconds of import that nobody waits for while vLLM starts.
            sdk = asyncio.create_task(asyncio.to_thread(_import_queue, self._settings))
            if not await self._start_engine():
                return ExitCode.OK
            return await self._serve(await sdk)
        finally:
            await self._engine.stop(ENGINE_STOP_S)
            log.info("stopped")

    def _asked_to_stop(self, number: int) -> None:
        log.info("%s: taking no more jobs", signal.Signals(number).name)
        self._stop.set()

    async def _start_engine(self) -> bool:
        """Return whether the engine runs; False if a signal came first."""
        start = asyncio.create_task(self._engine.start(self._settings.serving.start_timeout_s))
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not start.done():
            start.cancel()
            await asyncio.wait({start})
            return False
        start.result()
        return True

    async def _serve(self, queue: ModuleType) -> int:
        await queue.sdk.run_fitness_checks()
        scaler = queue.make_scaler(self._build_handler().handle, self._max_concurrency)
        queue.sdk.start_heartbeat()
        log.info("ready: up to %d jobs at once", self._max_concurrency)
        jobs = asyncio.create_task(scaler.run())
        failed = asyncio.create_task(self._engine.wait_failed())
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait({jobs, failed, stop}, return_when=asyncio.FIRST_COMPLETED)
        scaler.kill_worker()
        if failed.done():
            log.error("%s; this worker ends, so that another takes over", failed.result())
            await self._engine.stop(grace_s=0)
            await finish_jobs(scaler, jobs, FAILURE_DRAIN_S)
            return ExitCode.ENGINE_DIED
        failed.cancel()
        await finish_jobs(scaler, jobs, self._settings.serving.drain_timeout_s)
        return ExitCode.OK

    @property
    def _max_concurrency(self) -> int:
        return self._settings.serving.max_concurrency

    def _build_handler(self) -> Handler:
        streaming = self._settings.streaming
        batching = Batching(
            streaming.min_batch_size, streaming.max_batch_size, streaming.batch_size_growth_factor
        )
        requests = self._settings.requests
        defaults = RequestDefaults(
            self._settings.model.served_name,
            batching,
            max_tokens=requests.default_max_tokens,
            open_control_routes=requests.open_control_routes,
        )
        options = HandlerOptions(
            defaults,
            self._settings.serving.request_timeout_s,
            streaming.raw_openai_output,
        )
        pacing = Pacing(streaming.max_delay_ms / 1000)
        return Handler(self._engine.client, pacing, options)


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
    return queue


def _log_phase(name: str, seconds: float) -> None:
    log.info("engine, %4.1f s: %s", seconds, PHASES.get(name, name))
