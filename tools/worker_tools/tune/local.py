"""A worker on this machine, started for the measurements, with the settings of the environment."""

from __future__ import annotations

import asyncio
import collections
import secrets
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

import aiohttp

from worker.settings import load_settings
from worker_tools.dev.deployment import STOP_GRACE_S, WorkerExitError
from worker_tools.dev.process import WorkerProcess
from worker_tools.tune.target import Target

ASK_AGAIN_S = 0.2
TIMEOUT_S = 5.0
KEPT_LINES = 20
"""Lines of the worker's output that are shown if it does not start."""


class LocalWorker:
    """A worker in its HTTP mode. Use it as an asynchronous context manager.

    It listens on all interfaces, as any worker does, and therefore takes only a random key.

    Args:
        environ: Its environment, with the settings.
        most: Maximum concurrency. The limits of vLLM and of the worker are raised to it, unless
            the environment sets them.
        note: Called with the output of a worker that does not start.
    """

    def __init__(self, environ: Mapping[str, str], most: int, note: Callable[[str], None]) -> None:
        load_settings(environ)  # all problems of the configuration at once
        self._key = secrets.token_urlsafe()
        self._environ = {
            "MAX_NUM_SEQS": str(most),
            "MAX_CONCURRENCY": str(most),
            "WORKER_LOG_FORMAT": "text",
            **environ,
            "WORKER_MODE": "load-balancer",
            "WORKER_API_KEY": self._key,
        }
        self._note = note
        self._lines: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
        self._process = WorkerProcess("worker", lambda _, line: self._lines.append(line))
        self._ended: asyncio.Task[int] | None = None

    async def __aenter__(self) -> Self:
        port = find_free_port()
        self.target = Target(f"http://127.0.0.1:{port}", self._key)
        environ = {**self._environ, "PORT": str(port)}
        await self._process.start((sys.executable, "-m", "worker", "start"), environ)
        self._ended = asyncio.create_task(self._process.wait())
        try:
            await self._wait_ready()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()

    async def _wait_ready(self) -> None:
        """Wait until the health check answers 200.

        The worker ends by itself if the model is not loaded in time.
        """
        if self._ended is None:
            raise RuntimeError("the worker was not started")
        url = f"{self.target.base_url}/ping"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
            while not self._ended.done():
                with suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(url) as answer:
                        if answer.status == 200:
                            return
                await asyncio.wait({self._ended}, timeout=ASK_AGAIN_S)
        for line in self._lines:
            self._note(line)
        raise WorkerExitError("on this machine", self._ended.result())

    async def _stop(self) -> None:
        if self._ended is None:
            return
        self._process.terminate()
        await asyncio.wait({self._ended}, timeout=STOP_GRACE_S)
        self._process.kill()
        await self._ended


def find_free_port() -> int:
    """Return an unused TCP port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
