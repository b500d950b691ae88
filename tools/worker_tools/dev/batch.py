"""RunPod's batches: requests that are collected as a draft, then processed as jobs of the queue."""

from __future__ import annotations

import enum
import time
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from worker_tools.dev.job import Job, JobRequest, JobStatus
from worker_tools.dev.limits import Limits
from worker_tools.dev.reply import ApiError
from worker_tools.dev.store import JobStore


class BatchStatus(enum.StrEnum):
    """States as the platform's API spells them; none of them says that all requests have ended."""

    DRAFT = "DRAFT"
    FINALIZED = "FINALIZED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


LISTED_FIRST = (JobStatus.FAILED, JobStatus.TIMED_OUT, JobStatus.IN_PROGRESS, JobStatus.IN_QUEUE)
"""Order of the requests of a batch, as the platform's console shows them; the others follow."""


class Batch:
    """A batch and its requests.

    Attributes:
        id: The platform's form, `batch_` and a random part.
        name: Display name; empty until a client sets it.
        jobs: The requests, by id; they are queued when the batch is finalized.
        finalized: Whether the batch is locked.
        cancelled: Whether a client has cancelled it.
        created_at_ms: Time of creation, milliseconds since the epoch.
    """

    def __init__(self) -> None:
        self.id = f"batch_{uuid.uuid4().hex}"
        self.name = ""
        self.jobs: dict[str, Job] = {}
        self.finalized = False
        self.cancelled = False
        self.created_at_ms = round(time.time() * 1000)

    @property
    def status(self) -> BatchStatus:
        """The present state; CANCELLED once no request is in progress."""
        if self.cancelled and not self._counts()[JobStatus.IN_PROGRESS]:
            return BatchStatus.CANCELLED
        return BatchStatus.FINALIZED if self.finalized else BatchStatus.DRAFT

    @property
    def active(self) -> bool:
        """Whether the batch counts towards the limit of active batches."""
        if self.status is BatchStatus.CANCELLED:
            return False
        return not self.finalized or not all(job.final for job in self.jobs.values())

    def payload(self) -> dict[str, Any]:
        """Return the batch's summary."""
        counts = self._counts()
        return {
            "id": self.id,
            "name": self.name,
            "status": self.status,
            "requestTotal": len(self.jobs),
            "requestInProgress": counts[JobStatus.IN_PROGRESS],
            "requestCompleted": counts[JobStatus.COMPLETED],
            "requestFailed": counts[JobStatus.FAILED] + counts[JobStatus.TIMED_OUT],
            "createdAt": self.created_at_ms,
        }

    def page(self, offset: int, limit: int) -> dict[str, Any]:
        """Return `limit` requests from `offset` on: failures first, completed requests last."""
        order = {status: place for place, status in enumerate(LISTED_FIRST)}
        jobs = sorted(self.jobs.values(), key=lambda job: order.get(job.status, len(order)))
        return {
            "requests": [describe_request(job) for job in jobs[offset : offset + limit]],
            "total": len(jobs),
            "offset": offset,
            "limit": limit,
            "hasMore": offset + limit < len(jobs),
        }

    def _counts(self) -> Counter[JobStatus]:
        return Counter(job.status for job in self.jobs.values())


class BatchStore:
    """All batches of the endpoint.

    Args:
        store: The queue that processes finalized batches.
    """

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._batches: dict[str, Batch] = {}

    @property
    def limits(self) -> Limits:
        """Sizes and times of the endpoint."""
        return self._store.limits

    def create(self, inputs: list[Any]) -> Batch:
        """Create a draft with these inputs.

        Raises:
            ApiError: A limit is exceeded.
        """
        active = sum(batch.active for batch in self._batches.values())
        if active >= self.limits.batch_active:
            raise ApiError(
                429, f"the endpoint has {active} active batches; wait for one, or cancel one"
            )
        batch = Batch()
        self.add(batch, inputs)
        self._batches[batch.id] = batch
        return batch

    def find(self, batch_id: str) -> Batch:
        """Return a batch.

        Raises:
            ApiError: 404, there is none.
        """
        batch = self._batches.get(batch_id)
        if batch is None:
            raise ApiError(404, f"batch {batch_id} not found")
        return batch

    def newest_first(self) -> list[Batch]:
        """Return all batches."""
        return list(reversed(self._batches.values()))

    def add(self, batch: Batch, inputs: list[Any]) -> None:
        """Append requests to a draft: all of them or, after an error, none.

        Raises:
            ApiError: The batch is not a draft, or a limit is exceeded.
        """
        require_draft(batch)
        limits = self.limits
        if len(batch.jobs) + len(inputs) > limits.batch_requests:
            raise ApiError(
                400,
                f"a batch holds {limits.batch_requests} requests; this one has {len(batch.jobs)} "
                f"and would get {len(inputs)} more",
            )
        for job_input in inputs:
            job = Job(
                JobRequest(
                    input=job_input,
                    sync=False,
                    execution_timeout_ms=limits.execution_timeout_ms,
                    ttl_ms=limits.ttl_ms,
                    retention_s=limits.batch_retention_s,
                    batch_id=batch.id,
                )
            )
            batch.jobs[job.id] = job

    def remove(self, batch: Batch, request_id: str) -> None:
        """Remove one request from a draft.

        Raises:
            ApiError: The batch is not a draft, or has no such request.
        """
        require_draft(batch)
        if batch.jobs.pop(request_id, None) is None:
            raise ApiError(404, f"batch {batch.id} has no request {request_id}")

    def finalize(self, batch: Batch) -> None:
        """Lock a draft and queue its requests.

        Raises:
            ApiError: The batch is not a draft, is empty, or the queue is full.
        """
        require_draft(batch)
        if not batch.jobs:
            raise ApiError(400, "an empty batch cannot be finalized; add requests first")
        queued = self._store.queued_of_batches()
        if queued + len(batch.jobs) > self.limits.batch_queued:
            raise ApiError(429, f"the endpoint has {queued} queued batch requests; wait for them")
        batch.finalized = True
        for job in batch.jobs.values():
            self._store.enqueue(job)

    def cancel(self, batch: Batch) -> None:
        """Cancel the queued requests; those in progress finish. No effect on an ended batch."""
        batch.cancelled = batch.cancelled or batch.active
        if not batch.finalized or not batch.cancelled:
            return
        for job in batch.jobs.values():
            if job.status is JobStatus.IN_QUEUE:
                self._store.cancel(job)


def require_draft(batch: Batch) -> None:
    """Refuse a change of a batch that is not a draft.

    Raises:
        ApiError: 400, it is locked.
    """
    if batch.status is not BatchStatus.DRAFT:
        raise ApiError(400, f"batch {batch.id} is {batch.status}; only a DRAFT can be changed")


def describe_request(job: Job) -> dict[str, Any]:
    """Return one request of a batch as the list of requests shows it."""
    body: dict[str, Any] = {"id": job.id, "status": job.status}
    if job.output is not None:
        body["output"] = job.output
    if job.error is not None:
        body["error"] = job.error
    if job.status is not JobStatus.IN_QUEUE and job.metrics.taken_s is not None:
        body["startedAt"] = to_timestamp(job.metrics.taken_s)
    if job.metrics.finished_s is not None:
        body["completedAt"] = to_timestamp(job.metrics.finished_s)
    return body


def to_timestamp(at_s: float, monotonic: Callable[[], float] = time.monotonic) -> str:
    """Return a time of `time.monotonic()` in ISO 8601, UTC."""
    moment = datetime.fromtimestamp(time.time() - monotonic() + at_s, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
