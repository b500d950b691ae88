"""A worker process: start it, read its output, and stop it with all its children."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from worker.engine.parent_death import die_with_parent

OUTPUT_GRACE_S = 1.0
"""Seconds to read remaining output after the process group was killed."""

OnOutput = Callable[[str, str], None]
"""Called with a worker's id and one line of its output, without the line end."""


class WorkerProcess:
    """A worker in its own process group.

    Attributes:
        worker_id: Its id at the endpoint.
        returncode: Its exit status, negative for a signal; None while it runs.
    """

    def __init__(self, worker_id: str, on_output: OnOutput | None) -> None:
        self.worker_id = worker_id
        self._on_output = on_output
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def started(self) -> bool:
        """Whether it was started; it may have ended since."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Its process id, which is its process group's id too."""
        return self._started().pid

    @property
    def returncode(self) -> int | None:
        """Exit status; negative for a signal, None while it runs."""
        return self._started().returncode

    async def start(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        """Start `command` with `environ` as its whole environment."""
        if self._on_output is None:
            await self._spawn(command, environ, None)
            return
        # With asyncio's pipe, `wait` would not return while an orphan holds the output open.
        read_end, write_end = os.pipe()
        self._reader = asyncio.create_task(self._forward(read_end, self._on_output))
        try:
            await self._spawn(command, environ, write_end)
        finally:
            os.close(write_end)

    async def wait(self) -> int:
        """Wait until it has ended and its output was forwarded; return its exit status."""
        code = await self._started().wait()
        # Its children, such as the heartbeat process and the engine, must not outlive it.
        self.kill()
        if self._reader is not None:
            await asyncio.wait({self._reader}, timeout=OUTPUT_GRACE_S)
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        return code

    def terminate(self) -> None:
        """Send SIGTERM: the worker finishes its jobs and exits."""
        with suppress(ProcessLookupError):
            self._started().terminate()

    def kill(self) -> None:
        """Kill its process group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def _spawn(
        self, command: Sequence[str], environ: Mapping[str, str], output: int | None
    ) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *command,
            env=dict(environ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # A new session: Ctrl-C in the terminal reaches only this process, which then stops the
            # workers, and one signal reaches the worker and all its children.
            start_new_session=True,
            preexec_fn=functools.partial(die_with_parent, os.getpid()),
        )

    async def _forward(self, read_end: int, on_output: OnOutput) -> None:
        stream = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(read_end, "rb", buffering=0)
        )
        try:
            rest = b""
            while data := await stream.read(65536):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    on_output(self.worker_id, decode_line(line))
            if rest:
                on_output(self.worker_id, decode_line(rest))
        finally:
            transport.close()

    def _started(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("the worker process was not started")
        return self._process


def decode_line(line: bytes) -> str:
    """Return a line of output as text; of a progress bar only the last state."""
    return line.rstrip(b"\r").rsplit(b"\r", 1)[-1].decode(errors="replace")
