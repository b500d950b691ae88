"""The workers of an endpoint: last contact, their jobs, and jobs that they must stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class WorkerRecord:
    """One worker as the endpoint sees it.

    Attributes:
        id: The worker's id.
        jobs: Ids of the jobs that it has.
        ready: Done as soon as it has asked for a job.
        seen_s: Its last sign of life, `time.monotonic()`.
        polls: How many of its long polls are open.
        pings: How many heartbeats arrived.
        lost: Whether it has been silent too long, or is known to have ended.
        unhealthy: The reason of a failed fitness check, if it reported one.
        stop_pod: Whether a result asked for a fresh worker (`refresh_worker`).
        stops: Ids of jobs that it has to stop and that it does not know of yet.
    """

    id: str
    jobs: set[str] = field(default_factory=set)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    seen_s: float = 0.0
    polls: int = 0
    pings: int = 0
    lost: bool = False
    unhealthy: str | None = None
    stop_pod: bool = False
    stops: list[str] = field(default_factory=list)
    stop_waiters: set[asyncio.Future[None]] = field(default_factory=set)
    timer: asyncio.TimerHandle | None = None

    def wake_stop_polls(self) -> None:
        """Wake every open job-stop poll."""
        for waiter in self.stop_waiters:
            if not waiter.done():
                waiter.set_result(None)
        self.stop_waiters.clear()


class WorkerRegistry:
    """All workers, each with a timer that detects silence."""

    def __init__(self, timeout_s: float, on_silence: Callable[[WorkerRecord], None]) -> None:
        self._timeout_s = timeout_s
        self._on_silence = on_silence
        self._records: dict[str, WorkerRecord] = {}

    def __iter__(self) -> Iterator[WorkerRecord]:
        return iter(self._records.values())

    def get(self, worker_id: str) -> WorkerRecord:
        """Return the record of a worker; create it for a new id."""
        record = self._records.get(worker_id)
        if record is None:
            record = self._records[worker_id] = WorkerRecord(worker_id)
        return record

    def reset(self, worker_id: str) -> None:
        """Reset the state of a worker whose process ended and whose id is used again."""
        record = self.get(worker_id)
        record.ready.clear()
        record.pings = 0
        record.lost = record.stop_pod = False
        record.unhealthy = None
        record.stops.clear()

    def touch(self, worker_id: str) -> WorkerRecord:
        """Record a contact with the worker."""
        record = self.get(worker_id)
        record.seen_s = time.monotonic()
        record.lost = False
        if record.timer is None:
            self._arm(record, self._timeout_s)
        return record

    def close(self) -> None:
        """Stop all timers."""
        for record in self:
            if record.timer is not None:
                record.timer.cancel()
                record.timer = None

    def counts(self) -> dict[str, int]:
        """Return how many workers are in each state, as /health shows it."""
        counts = dict.fromkeys(
            ("idle", "initializing", "ready", "running", "throttled", "unhealthy"), 0
        )
        for record in self:
            if record.lost or record.unhealthy is not None:
                counts["unhealthy"] += 1
            elif not record.ready.is_set():
                counts["initializing"] += 1
            else:
                counts["ready"] += 1
                counts["running" if record.jobs else "idle"] += 1
        return counts

    def _arm(self, record: WorkerRecord, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        record.timer = loop.call_later(delay_s, self._check, record)

    def _check(self, record: WorkerRecord) -> None:
        record.timer = None
        if record.polls:
            record.seen_s = time.monotonic()
        left_s = record.seen_s + self._timeout_s - time.monotonic()
        if left_s <= 0:
            record.lost = True
        else:
            self._arm(record, left_s)
        self._on_silence(record)
