"""Which requests had to wait for the start of a worker, from the states that RunPod reports."""

from __future__ import annotations

import asyncio
import bisect
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from worker.errors import WorkerError
from worker_tools.tune.target import EndpointClient, Target

EACH_S = 1.0
TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class ColdStarts:
    """Requests that were sent while no worker was ready.

    Attributes:
        cold: How many.
        requests: Of how many, the first one included.
    """

    cold: int
    requests: int

    @property
    def share(self) -> float:
        """Share of the cold ones."""
        return self.cold / self.requests


class WorkerWatch:
    """Reads an endpoint's `/health` each second. Use it as an asynchronous context manager.

    RunPod tells no client which request started a worker, so the states of the workers decide: a
    request is cold if none was ready when it was sent.

    Args:
        target: The endpoint; for anything but a queue nothing is read.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._queue_url = target.queue_url or ""
        self._times_s: list[float] = []
        self._ready: list[int] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._queue_url:
            await self._read()
            self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def record(self, at_s: float, ready: int) -> None:
        """Record how many workers were ready; `at_s` must not decrease."""
        self._times_s.append(at_s)
        self._ready.append(ready)

    def count(self, starts_s: Sequence[float]) -> ColdStarts | None:
        """Return how many requests were cold, with the one that began with this object.

        Args:
            starts_s: When each was sent, on the clock `time.perf_counter`.

        Returns:
            None if the endpoint reports no states of workers.
        """
        if not self._times_s:
            return None
        moments = [self._times_s[0], *starts_s]
        cold = sum(self._ready[bisect.bisect(self._times_s, at) - 1] == 0 for at in moments)
        return ColdStarts(cold, len(moments))

    @property
    def most_ready(self) -> int:
        """Maximum number of workers that were ready at a time; 0 if unknown."""
        return max(self._ready, default=0)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(EACH_S)
            with suppress(WorkerError, TimeoutError):
                await self._read()

    async def _read(self) -> None:
        async with EndpointClient(self._queue_url, self._target.key, TIMEOUT_S) as client:
            found = await client.call("GET", "/health")
        self.record(time.perf_counter(), count_ready(found))


def count_ready(health: Any) -> int:
    """Return how many workers can take a request at once."""
    states = health.get("workers", {}) if isinstance(health, dict) else {}
    working = int(states.get("idle", 0)) + int(states.get("running", 0))
    return max(int(states.get("ready", 0)), working)
