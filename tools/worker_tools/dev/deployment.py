"""Start and stop the local endpoint together with its worker processes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from worker.errors import ExitCode, WorkerError
from worker_tools.dev.endpoint import LocalEndpoint
from worker_tools.dev.process import OnOutput, WorkerProcess

DEFAULTS = {
    "RUNPOD_LOG_LEVEL": "INFO",
    "WORKER_LOG_FORMAT": "text",
    # The SDK checks for a GPU and for internet access.
    "RUNPOD_SKIP_GPU_CHECK": "true",
    "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
    "PYTHONUNBUFFERED": "1",
}
"""Environment variables of a local worker; those of the caller have priority."""
STOP_GRACE_S = 20.0
"""Seconds between SIGTERM and SIGKILL."""


class WorkerExitError(WorkerError):
    """A worker ended before it was ready.

    Attributes:
        worker_id: Its id.
        status: Its exit status as a shell reports it: 128 plus the number of a signal.
    """

    def __init__(self, worker_id: str, returncode: int) -> None:
        self.worker_id = worker_id
        self.status = exit_status(returncode)
        if self.status in set(ExitCode):
            self.exit_code = ExitCode(self.status)
        how = f"was killed by signal {-returncode}" if returncode < 0 else f"exited {returncode}"
        super().__init__(f"worker {worker_id} {how} before it was ready; its output has the reason")


class LocalDeployment:
    """An endpoint and `workers` worker processes; use it with `async with`.

    Attributes:
        endpoint: The endpoint, listening inside the context.
        processes: The worker processes, in order.
        environ: Environment of the workers, without the defaults and the platform's variables.
        restarting: Whether the workers are being replaced.
        command: Command line of a worker: `worker start` with this Python.
        defaults: What a worker is started with unless `environ` sets it.
    """

    command: Sequence[str] = (sys.executable, "-m", "worker", "start")
    defaults: Mapping[str, str] = DEFAULTS

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        port: int = 0,
        workers: int = 1,
        rtt_ms: float = 0,
        on_output: OnOutput | None = None,
        endpoint: LocalEndpoint | None = None,
    ) -> None:
        """Prepare a deployment without starting anything.

        Args:
            environ: Environment of the workers, without the platform's variables.
            port: TCP port of the endpoint; 0 takes a free one.
            workers: How many worker processes to start.
            rtt_ms: Artificial round trip of every worker call, in milliseconds.
            on_output: Called with each line of a worker's output; None inherits stdout and stderr.
            endpoint: An endpoint with limits or faults, not started. It replaces `rtt_ms`.
        """
        self.endpoint = endpoint if endpoint is not None else LocalEndpoint(rtt_ms=rtt_ms)
        self.processes = [WorkerProcess(f"worker-{n + 1}", on_output) for n in range(workers)]
        self.environ = dict(environ)
        self._port = port
        self._on_output = on_output
        self._exits: dict[str, asyncio.Task[int]] = {}
        self._ended: asyncio.Future[tuple[str, int]] | None = None
        self._restarted = False
        self._stopping = False
        self.restarting = False

    async def __aenter__(self) -> Self:
        """Listen and start the workers.

        Raises:
            UnavailableError: The port is in use.
        """
        self._ended = asyncio.get_running_loop().create_future()
        await self.endpoint.start(self._port)
        try:
            await self._start_workers()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop workers and endpoint."""
        await self.stop()

    async def wait_ready(self) -> None:
        """Wait until every worker has polled for its first job.

        Raises:
            WorkerExitError: A worker ended before.
        """
        registry = self.endpoint.store.workers
        ended = self._end()
        for process in self.processes:
            ready = asyncio.create_task(registry.get(process.worker_id).ready.wait())
            awaited: set[asyncio.Future[Any]] = {ready, ended}
            try:
                await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            finally:
                ready.cancel()
            if ended.done():
                raise WorkerExitError(*ended.result())

    async def wait(self) -> int:
        """Wait until a worker ends by itself and return its exit status.

        A worker that was restarted and does not become ready is not counted.
        """
        _worker_id, code = await asyncio.shield(self._end())
        return exit_status(code)

    async def restart(
        self,
        environ: Mapping[str, str],
        grace_s: float = STOP_GRACE_S,
        on_ended: Callable[[], None] | None = None,
    ) -> None:
        """Replace the workers by new ones; queued jobs wait for them.

        Args:
            environ: Environment of the new workers.
            grace_s: Seconds that the workers have to finish their jobs before they are killed.
            on_ended: Called between the end of the workers and the new start.

        Raises:
            RuntimeError: A restart is under way.
        """
        if self.restarting:
            raise RuntimeError("the workers are being restarted already")
        self.restarting = self._restarted = True
        store = self.endpoint.store
        try:
            await self._end_workers(grace_s)
            self._exits.clear()
            if self._stopping:
                return
            if on_ended is not None:
                on_ended()
            self.environ = dict(environ)
            self.processes = [
                WorkerProcess(process.worker_id, self._on_output) for process in self.processes
            ]
            for process in self.processes:
                store.workers.reset(process.worker_id)
            store.resume()
            await self._start_workers()
        finally:
            self.restarting = False

    def kill(self) -> None:
        """Kill all workers."""
        for process in self._running():
            process.kill()

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Stop the workers, then the endpoint.

        Args:
            grace_s: Seconds between SIGTERM and SIGKILL.
        """
        self._stopping = True
        try:
            await self._end_workers(grace_s)
        finally:
            await self.endpoint.stop()

    async def _start_workers(self) -> None:
        for process in self.processes:
            platform = self.endpoint.worker_environment(process.worker_id)
            environ = {**self.defaults, **self.environ, **platform}
            await process.start(self.command, environ)
            self._exits[process.worker_id] = asyncio.create_task(self._watch(process))

    async def _end_workers(self, grace_s: float) -> None:
        try:
            for process in self._running():
                process.terminate()
            self.endpoint.store.drain()
            if self._exits:
                await asyncio.wait(self._exits.values(), timeout=grace_s)
        finally:
            self.kill()
            if self._exits:
                await asyncio.wait(self._exits.values())

    def _end(self) -> asyncio.Future[tuple[str, int]]:
        if self._ended is None:
            raise RuntimeError("the deployment was not started")
        return self._ended

    def _running(self) -> list[WorkerProcess]:
        return [
            process
            for process in self.processes
            if process.worker_id in self._exits and process.returncode is None
        ]

    async def _watch(self, process: WorkerProcess) -> int:
        code = await process.wait()
        store = self.endpoint.store
        store.lose_worker(process.worker_id)
        ends_all = store.workers.get(process.worker_id).ready.is_set() or not self._restarted
        ended = self._end()
        if ends_all and not self.restarting and not ended.done():
            ended.set_result((process.worker_id, code))
        return code


def exit_status(returncode: int) -> int:
    """Return an exit status as a shell reports it, 0 to 255."""
    return 128 - returncode if returncode < 0 else returncode
