"""A job: its state, its chunks and its timings."""

from __future__ import annotations

import asyncio
import enum
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class JobStatus(enum.StrEnum):
    """States as the platform's API spells them."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"


FINAL = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.TIMED_OUT})
RETRIABLE = frozenset({JobStatus.FAILED, JobStatus.TIMED_OUT})


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What a client submitted.

    Attributes:
        input: The job's input, any JSON value; an `orjson.Fragment` reaches the worker as the bytes
            that it holds, valid or not.
        sync: Submitted through /runsync or the gateway: other retention, id with `sync-`.
        execution_timeout_ms: Milliseconds that the job may run.
        ttl_ms: Milliseconds from submission to deletion.
        retention_s: Seconds that the result is kept.
        webhook: URL that gets the result, if any.
        s3_config: The client's `s3Config`, passed to the handler as it is.
        batch_id: The batch that it belongs to, if any.
        size_bytes: Length of the body that was submitted.
    """

    input: Any
    sync: bool
    execution_timeout_ms: int
    ttl_ms: int
    retention_s: float
    webhook: str | None = None
    s3_config: dict[str, Any] | None = None
    batch_id: str | None = None
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Post:
    """One POST of a worker for one job.

    Attributes:
        operation: `stream` or `done`.
        at_s: `time.monotonic()` when its body had arrived.
        size_bytes: Length of the body.
        late: Whether it came after the end, or from a worker that no longer has the job.
    """

    operation: str
    at_s: float
    size_bytes: int
    late: bool


@dataclass(slots=True)
class JobMetrics:
    """Times of a job, in seconds of `time.monotonic()`.

    Attributes:
        submitted_s: The client's request was accepted.
        taken_s: A worker took it (the last time, if more than once).
        first_chunk_s: The first streamed chunk of this attempt arrived.
        finished_s: It reached a final state.
        posts: Every POST of a worker, in order of arrival.
        webhook: Outcome of the webhook: `delivered`, `failed`, `refused`, or None.
    """

    submitted_s: float
    taken_s: float | None = None
    first_chunk_s: float | None = None
    finished_s: float | None = None
    posts: list[Post] = field(default_factory=list)
    webhook: str | None = None

    def after_ms(self, at_s: float | None) -> float | None:
        """Return a time as milliseconds after the submission; None stays None."""
        return None if at_s is None else round((at_s - self.submitted_s) * 1000, 3)


class Job:
    """A job in the store.

    Only `JobStore` changes it. Other code may read it and wait for changes.

    Attributes:
        id: The platform's form: a UUID with `-u1`, and `sync-` before it for a waiting client.
        request: What was submitted.
        status: Its present state.
        worker_id: The worker that has it, or had it last.
        output: The result, or the latest progress report.
        error: The error as the worker reported it.
        chunks: Streamed outputs of this attempt, in order.
        drained: Number of chunks that /stream has returned.
        attempt: How often it was taken.
        losses: How often its worker was lost.
        delivered: Whether the worker received it.
        reported_s: When its worker last named it, `time.monotonic()`.
        metrics: Its times.
        observer: Called at each change, if anybody watches all jobs.
    """

    def __init__(self, request: JobRequest) -> None:
        unique = f"{uuid.uuid4()}-u1"
        self.id = f"sync-{unique}" if request.sync else unique
        self.request = request
        self.status = JobStatus.IN_QUEUE
        self.worker_id: str | None = None
        self.output: Any = None
        self.error: Any = None
        self.chunks: list[Any] = []
        self.drained = 0
        self.attempt = 0
        self.losses = 0
        self.delivered = False
        self.reported_s = 0.0
        self.metrics = JobMetrics(submitted_s=time.monotonic())
        self.observer: Callable[[Job], None] | None = None
        self.timers: dict[str, asyncio.TimerHandle] = {}
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def final(self) -> bool:
        """Whether the job has ended."""
        return self.status in FINAL

    def reset(self) -> None:
        """Discard the results of the last attempt."""
        self.output = None
        self.error = None
        self.chunks = []
        self.drained = 0
        self.delivered = False
        self.metrics.first_chunk_s = None
        self.metrics.finished_s = None

    def drain(self) -> list[dict[str, Any]]:
        """Return the chunks that were not polled yet, in the form of /stream."""
        fresh = self.chunks[self.drained :]
        self.drained = len(self.chunks)
        return [{"output": chunk} for chunk in fresh]

    def payload(self) -> dict[str, Any]:
        """Return the response of /status; times in milliseconds."""
        body: dict[str, Any] = {"id": self.id, "status": self.status}
        times = self.metrics
        if times.taken_s is not None and self.status is not JobStatus.IN_QUEUE:
            body["delayTime"] = round((times.taken_s - times.submitted_s) * 1000)
            end = times.finished_s if times.finished_s is not None else time.monotonic()
            body["executionTime"] = round((end - times.taken_s) * 1000)
        if self.worker_id is not None and self.status is not JobStatus.IN_QUEUE:
            body["workerId"] = self.worker_id
        if self.output is not None:
            body["output"] = self.output
        if self.error is not None:
            body["error"] = self.error
        return body

    def notify(self) -> None:
        """Wake all waiters of a change."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()
        if self.observer is not None:
            self.observer(self)

    async def changed(self) -> None:
        """Wait for the next change: a chunk, a state, a new attempt."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    async def finished(self, timeout_s: float | None = None) -> bool:
        """Wait for a final state.

        Args:
            timeout_s: Maximum wait, seconds; None waits forever.

        Returns:
            Whether the job has ended.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not self.final:
                    await self.changed()
        except TimeoutError:
            return False
        return True

    def set_timer(self, name: str, delay_s: float, action: Callable[[Job], None]) -> None:
        """Call `action(job)` after `delay_s` seconds, in place of a timer of the same name."""
        self.clear_timer(name)
        loop = asyncio.get_running_loop()
        self.timers[name] = loop.call_later(delay_s, action, self)

    def clear_timer(self, *names: str) -> None:
        """Stop the named timers; all of them without a name."""
        for name in names or tuple(self.timers):
            if (handle := self.timers.pop(name, None)) is not None:
                handle.cancel()
