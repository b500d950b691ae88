"""Start, monitor and stop the engine process; nothing of it outlives the worker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import orjson

from worker.engine import heartbeat, process_exit
from worker.engine.client import EngineClient, Health
from worker.engine.early import EarlyProcess
from worker.engine.parent_death import group_is_alive
from worker.engine.run_folder import RunFolder
from worker.engine.self_test import SelfTestError, run_self_test
from worker.engine.startup_errors import describe_exit, explain_startup_failure
from worker.engine.watchdog import EngineWatchdog, WatchdogLimits
from worker.errors import ExitCode, WorkerError

HEALTH_INTERVAL_S = 0.05
"""Interval of health checks during the start; a connect on a Unix socket is cheap."""

REMOTE_INTERVAL_S = 1.0
"""Interval of health checks of a server on another node during the start."""

GROUP_INTERVAL_S = 0.05
"""Interval of checks for processes that are ending."""

WATCH_INTERVAL_S = 0.5
"""Interval of checks of a ready server."""

TAIL_LINES = 200
"""Lines of vLLM's output that are kept to explain a failure."""

LINE_LIMIT_BYTES = 64 * 1024
"""A longer line of vLLM's output is cut."""

READ_BYTES = 64 * 1024
REPORT_LIMIT_BYTES = 1024 * 1024
"""Far above the longest report."""

TRACKER_WAIT_S = 3.0
"""Time limit for the last processes to clean up after the API server."""

ENGINE_DEATH_WAIT_S = 6.0
"""How long a server may take to report a dead engine and end; vLLM checks every 5 s."""

KILL_WAIT_S = 10.0
"""How long a process may take to end after SIGKILL; a GPU driver can delay it."""

DEFAULT_LIMITS = WatchdogLimits()

PHASES = {
    "import": "importing vLLM",
    "configure": "reading the model's configuration",
    "load": "loading the model and warming up",
    "ready": "ready",
    "tested": "answered its self-test",
}
"""Phases that `worker.engine.child` reports, with their names in the log."""


class EngineStartError(WorkerError):
    """The start of vLLM failed; the text has the reason and a remedy."""

    exit_code = ExitCode.ENGINE_START


class EngineProcess:
    """One run of vLLM's API server and of everything it starts, in a separate process group.

    Args:
        arguments: What `vllm serve` would be given, without the socket.
        environment: The whole environment of the process; secrets travel here, never in arguments.
        on_phase: Called at each phase of the start with its name (a key of `PHASES`) and the
            seconds since the start.
        on_output: Called with each line that vLLM prints, without the line end.
        limits: When the engine counts as hung.
        is_ready: Whether the server on another node that serves this engine's requests is ready;
            None for an engine that has a server.
        early: A process that becomes the engine if it accepts the environment.

    Attributes:
        command: The program that is started; the worker's process id, the descriptor for reports
            and the arguments follow.
    """

    command: Sequence[str] = (sys.executable, "-m", "worker.engine.child")

    def __init__(  # noqa: PLR0913  what it does not share with another engine
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        on_phase: Callable[[str, float], None],
        on_output: Callable[[str], None],
        limits: WatchdogLimits = DEFAULT_LIMITS,
        is_ready: Callable[[], Awaitable[bool]] | None = None,
        early: EarlyProcess | None = None,
    ) -> None:
        self._early = early
        self._arguments = list(arguments)
        self._on_phase = on_phase
        self._on_output = on_output
        self._limits = limits
        self._is_ready = is_ready
        self._folder = RunFolder() if early is None else early.folder
        own = self._folder.variables()
        self._environment = {**own, **environment}
        if "TMPDIR" in own:
            # A subfolder of the user's own.
            self._environment["TMPDIR"] = own["TMPDIR"]
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._reported_error: tuple[str, str] | None = None
        self._process: asyncio.subprocess.Process | EarlyProcess | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._exited: asyncio.Task[int] | None = None
        self._started_at = 0.0
        self._client: EngineClient | None = None

    @property
    def client(self) -> EngineClient:
        """The connection pool to this engine."""
        if self._client is None:
            raise RuntimeError("the engine was not started")
        return self._client

    @property
    def pid(self) -> int | None:
        """Process id of the API server; also the id of the engine's process group."""
        return self._process.pid if self._process else None

    async def start(self, timeout_s: float) -> None:
        """Start vLLM and return when it answers.

        Raises:
            EngineStartError: vLLM ended, or was not ready within `timeout_s`; it has been stopped.
        """
        self._started_at = time.monotonic()
        self._client = EngineClient(self._folder.socket)
        self._process, reports, output = await self._launch()
        self._readers = [
            asyncio.create_task(self._read_reports(reports)),
            asyncio.create_task(self._read_output(output)),
        ]
        self._exited = asyncio.create_task(self._process.wait())
        try:
            async with asyncio.timeout(timeout_s):
                if await self._wait_healthy(self._exited):
                    self._on_phase("ready", self.uptime_s)
                    return
            # The last lines, with the reason, may still be in the pipes.
            await asyncio.wait(self._readers, timeout=1.0)
            problem = explain_startup_failure(
                self._reported_error, self._tail, self._exited.result()
            )
        except TimeoutError:
            problem = (
                f"vLLM was not ready after {timeout_s:.0f} s. Raise the start time-out, or choose "
                "a smaller model or faster storage"
            )
        await self.stop(grace_s=0)
        raise EngineStartError(problem)

    async def test(self, model: str, timeout_s: float) -> None:
        """Run the self-test.

        Args:
            model: The served model name.
            timeout_s: Time limit for the response, seconds.

        Raises:
            EngineStartError: The self-test failed; vLLM has been stopped.
        """
        try:
            route = await run_self_test(self.client, model, timeout_s)
        except SelfTestError as error:
            problem = f"vLLM loaded the model and cannot answer with it: {error}"
            if self._exited is not None:
                # A dying engine logs the reason last.
                await asyncio.wait({self._exited}, timeout=ENGINE_DEATH_WAIT_S)
                if self._exited.done():
                    cause = explain_startup_failure(
                        self._reported_error, self._tail, self._exited.result()
                    )
                    problem = f"{problem}. {cause}"
            await self.stop(grace_s=0)
            raise EngineStartError(problem) from error
        if route is not None:
            self._on_phase("tested", self.uptime_s)

    async def _launch(self) -> tuple[asyncio.subprocess.Process | EarlyProcess, int, int]:
        """Return vLLM's process, and the descriptors of its reports and of its output."""
        environment = {**self._environment, heartbeat.FOLDER: str(self._folder.path)}
        if (early := self._early) is not None:
            if early.accepts(environment):
                await asyncio.to_thread(early.hand_over, environment, self._arguments)
                return early, early.reports, early.output
            early.close()
        # Pipes of our own for the output too: with asyncio's, `wait` returns only when every
        # process that holds the pipe has ended, not when vLLM has.
        reports, report_end = os.pipe()
        output, output_end = os.pipe()
        try:
            return await self._spawn(environment, report_end, output_end), reports, output
        except BaseException:
            os.close(reports)
            os.close(output)
            raise
        finally:
            os.close(report_end)
            os.close(output_end)

    async def _spawn(
        self, environment: Mapping[str, str], report_end: int, output_end: int
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self.command,
            str(os.getpid()),
            str(report_end),
            *self._arguments,
            *self._folder.arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output_end,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            pass_fds=[report_end],
            # A new group: Ctrl-C in a terminal reaches only the worker, which drains first,
            # and one signal reaches all of vLLM's processes.
            start_new_session=True,
        )

    @property
    def uptime_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started_at

    async def wait_failed(self) -> str:
        """Wait until vLLM ends, loses its engine or stops answering; return the reason.

        vLLM's own watchdog ends the API server only some 5 s after the death of its engine.
        """
        if self._exited is None or self._process is None:
            raise RuntimeError("the engine was not started")
        checks: list[asyncio.Task[str]] = []
        # A follower has no server to check; the first node checks for all.
        if self._is_ready is None:
            silent = heartbeat.wait_silent(self._folder.path, self._limits.silence_s)
            checks = [asyncio.create_task(self._watch()), asyncio.create_task(silent)]
        if "--enable-elastic-ep" not in self._arguments:  # It ends processes on request.
            prefix = f"{self._environment.get('VLLM_PROCESS_NAME_PREFIX', 'VLLM')}::"
            ended = process_exit.wait_ended(self._process.pid, prefix)
            checks.append(asyncio.create_task(ended))
        try:
            await asyncio.wait({self._exited, *checks}, return_when=asyncio.FIRST_COMPLETED)
            if self._exited.done():
                return f"vLLM ended with {describe_exit(self._exited.result())}"
            return next(check.result() for check in checks if check.done())
        finally:
            for check in checks:
                check.cancel()

    async def _watch(self) -> str:
        watchdog = EngineWatchdog(self.client, self._limits)
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            if problem := await watchdog.check():
                return problem

    async def stop(self, grace_s: float) -> None:
        """Stop vLLM: terminate it, wait up to `grace_s` seconds, then kill its process group.

        Safe to call at any time, also twice or after vLLM has ended by itself.
        """
        if self._client is not None:
            await self._client.close()
        if self._process is not None and self._exited is not None:
            if not self._exited.done() and grace_s > 0:
                self._signal(signal.SIGTERM)
                await asyncio.wait({self._exited}, timeout=grace_s)
            if not self._exited.done():
                self._signal(signal.SIGKILL)
            # With the API server the kernel ends what it has forked, and Python's resource tracker
            # then removes their shared memory. Killed with the rest, it could not.
            if not await self._wait_group_gone(TRACKER_WAIT_S):
                self._signal_group(signal.SIGKILL)
                await self._wait_group_gone(KILL_WAIT_S)
            await asyncio.wait({self._exited}, timeout=KILL_WAIT_S)
        if self._readers:
            await asyncio.wait(self._readers, timeout=1.0)
            for reader in self._readers:
                reader.cancel()
        self._folder.remove()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def _signal_group(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def _wait_group_gone(self, timeout_s: float) -> bool:
        """Wait until no process of the group is alive and its memory is free.

        Returns:
            False if there is one after `timeout_s` seconds.
        """
        deadline = time.monotonic() + timeout_s
        while self._process is not None and group_is_alive(self._process.pid):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(GROUP_INTERVAL_S)
        return True

    async def _wait_healthy(self, exited: asyncio.Task[int]) -> bool:
        """Return True when the server answers, False if the process ends before."""
        interval_s = HEALTH_INTERVAL_S if self._is_ready is None else REMOTE_INTERVAL_S
        while not exited.done():
            if await self._answers():
                return True
            await asyncio.wait({exited}, timeout=interval_s)
        return False

    async def _answers(self) -> bool:
        if self._is_ready is not None:
            return await self._is_ready()
        return await self.client.check_health() is Health.OK

    async def _read_reports(self, descriptor: int) -> None:
        async for line in _lines(descriptor, REPORT_LIMIT_BYTES):
            message = orjson.loads(line)
            if phase := message.get("phase"):
                self._on_phase(phase, self.uptime_s)
            else:
                self._reported_error = (message["error"], message["message"])

    async def _read_output(self, descriptor: int) -> None:
        async for raw in _lines(descriptor, LINE_LIMIT_BYTES):
            line = raw.decode(errors="replace")
            self._tail.append(line)
            self._on_output(line)


async def _lines(descriptor: int, limit: int) -> AsyncIterator[bytes]:
    """Yield each line of a pipe without its end; one of more than `limit` bytes is cut."""
    reader = asyncio.StreamReader()
    pipe = os.fdopen(descriptor, "rb", buffering=0)
    transport, _protocol = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    try:
        rest = b""
        while chunk := await reader.read(READ_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line.rstrip(b"\r")
            if len(rest) > limit:
                yield rest
                rest = b""
        if rest:
            yield rest
    finally:
        transport.close()
