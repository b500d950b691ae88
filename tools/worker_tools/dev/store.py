"""The queue and the state of every job: all rules of the platform, without any HTTP."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Any

from worker_tools.dev.job import RETRIABLE, Job, JobRequest, JobStatus, Post
from worker_tools.dev.limits import Limits
from worker_tools.dev.registry import WorkerRecord, WorkerRegistry

DRAIN_HOLD_S = 0.2
"""Seconds that a long poll is held while the workers are being stopped."""


class JobStore:
    """Owns jobs, queue and workers; every method runs on one event loop.

    Attributes:
        jobs: All jobs that are not deleted yet, by id.
        workers: All workers that were seen or announced.
        retried: How many times a job went back to the queue after it had been taken.
        on_finish: Called with each job that reaches a final state.
        on_change: Called with each job submitted from now on, at each of its changes.
    """

    def __init__(self, limits: Limits, on_finish: Callable[[Job], None] | None = None) -> None:
        self.limits = limits
        self.jobs: dict[str, Job] = {}
        self.workers = WorkerRegistry(limits.worker_timeout_s, self._check_silence)
        self.retried = 0
        self.on_finish = on_finish
        self.on_change: Callable[[Job], None] | None = None
        self._queue: OrderedDict[str, Job] = OrderedDict()
        self._batch_queue: OrderedDict[str, Job] = OrderedDict()
        self._takers: deque[asyncio.Future[None]] = deque()
        self._finished: Counter[JobStatus] = Counter()
        self._draining = False

    # Client side

    def submit(self, request: JobRequest) -> Job:
        """Queue a new job."""
        job = Job(request)
        self.enqueue(job)
        return job

    def enqueue(self, job: Job) -> None:
        """Queue a job that is new to the store."""
        self.jobs[job.id] = job
        job.set_timer("ttl", job.request.ttl_ms / 1000, self._expire)
        job.observer = self.on_change
        self._enqueue(job)
        job.notify()

    def cancel(self, job: Job) -> None:
        """End a job that has not ended; its worker learns it through job-stop."""
        if not job.final:
            self._stop(job, JobStatus.CANCELLED)

    def retry(self, job: Job) -> bool:
        """Queue a failed job again, with its id and input; False if its state forbids it."""
        if job.status not in RETRIABLE:
            return False
        job.clear_timer("retention")
        self.retried += 1
        self._requeue(job)
        return True

    def purge(self) -> int:
        """Cancel all queued jobs and return how many there were."""
        queued = [*self._queue.values(), *self._batch_queue.values()]
        for job in queued:
            self.cancel(job)
        return len(queued)

    def job_counts(self) -> dict[str, int]:
        """Return how many jobs are in each state, as /health shows it."""
        running = sum(job.status is JobStatus.IN_PROGRESS for job in self.jobs.values())
        failed = self._finished[JobStatus.FAILED] + self._finished[JobStatus.TIMED_OUT]
        return {
            "completed": self._finished[JobStatus.COMPLETED],
            "failed": failed,
            "inProgress": running,
            "inQueue": len(self._queue) + len(self._batch_queue),
            "retried": self.retried,
        }

    def queued_of_batches(self) -> int:
        """Return how many requests of batches are queued."""
        return len(self._batch_queue)

    # Worker side

    async def take(self, worker_id: str, count: int) -> list[Job]:
        """Wait for jobs and hand them to a worker.

        Args:
            worker_id: Who asks.
            count: Maximum number of jobs that it wants.

        Returns:
            1 to `count` jobs, or none after `take_hold_s` seconds. The caller confirms the
            delivery (`confirm`) or gives the jobs back (`give_back`).
        """
        worker = self.workers.touch(worker_id)
        worker.ready.set()
        worker.polls += 1
        try:
            if not await self._wait_for_job():
                return []
        finally:
            worker.polls -= 1
            self.workers.touch(worker_id)
        jobs: list[Job] = []
        while self._queued and len(jobs) < count:
            # The requests of batches must not delay others.
            _, job = (self._queue or self._batch_queue).popitem(last=False)
            self._start(job, worker)
            jobs.append(job)
        self._wake_taker()
        return jobs

    def confirm(self, jobs: Iterable[Job]) -> None:
        """Note that the worker has received these jobs."""
        for job in jobs:
            job.delivered = True
            if job.status in (JobStatus.CANCELLED, JobStatus.TIMED_OUT):
                self._announce_stop(job)

    def give_back(self, jobs: Iterable[Job]) -> None:
        """Queue jobs again, in front, whose take request was gone before the reply."""
        for job in jobs:
            if job.status is JobStatus.IN_PROGRESS and not job.delivered:
                self._requeue(job, front=True)

    async def stop_signals(self, worker_id: str) -> list[str]:
        """Wait for jobs that the worker has to stop; empty after `stop_hold_s` seconds."""
        worker = self.workers.touch(worker_id)
        worker.polls += 1
        try:
            async with asyncio.timeout(DRAIN_HOLD_S if self._draining else self.limits.stop_hold_s):
                while not worker.stops:
                    waiter = asyncio.get_running_loop().create_future()
                    worker.stop_waiters.add(waiter)
                    await waiter
                    if self._draining:
                        break
        except TimeoutError:
            pass
        finally:
            worker.polls -= 1
            self.workers.touch(worker_id)
        ids, worker.stops = worker.stops, []
        return ids

    def restore_stops(self, worker_id: str, ids: list[str]) -> None:
        """Announce stops again whose reply did not reach the worker."""
        worker = self.workers.get(worker_id)
        worker.stops[:0] = ids
        worker.wake_stop_polls()

    def add_chunk(self, worker_id: str, job_id: str, chunks: list[Any], size_bytes: int) -> None:
        """Append streamed output; ignored for a job that this worker does not have."""
        job = self._reported(worker_id, job_id, "stream", size_bytes)
        if job is None:
            return
        if job.metrics.first_chunk_s is None:
            job.metrics.first_chunk_s = job.reported_s
        job.chunks.extend(chunks)
        job.notify()

    def finish(self, worker_id: str, job_id: str, body: dict[str, Any], size_bytes: int) -> None:
        """Take a job's result, or its progress report; ignored like a late chunk."""
        job = self._reported(worker_id, job_id, "done", size_bytes)
        if job is None:
            return
        if body.get("status") == JobStatus.IN_PROGRESS:
            job.output = body.get("output")
            job.notify()
            return
        if body.get("stopPod"):
            self.workers.get(worker_id).stop_pod = True
        job.output = body.get("output")
        job.error = body.get("error") or None
        self._finish(job, JobStatus.FAILED if job.error is not None else JobStatus.COMPLETED)

    def ping(self, worker_id: str, job_ids: list[str]) -> None:
        """Note a heartbeat and the jobs that it names."""
        worker = self.workers.touch(worker_id)
        worker.pings += 1
        for job_id in job_ids:
            if (job := self.jobs.get(job_id)) is not None and job.worker_id == worker_id:
                job.reported_s = worker.seen_s

    def lose_worker(self, worker_id: str) -> None:
        """Note that a worker has ended; its jobs are dealt with at once."""
        worker = self.workers.get(worker_id)
        worker.lost = True
        self._check_silence(worker)

    # The store as a whole

    def drain(self) -> None:
        """Hand out no more jobs and answer all long polls soon, to let workers end."""
        self._draining = True
        for waiter in self._takers:
            if not waiter.done():
                waiter.set_result(None)
        self._takers.clear()
        for worker in self.workers:
            worker.wake_stop_polls()

    def resume(self) -> None:
        """Hand out jobs again after `drain`."""
        self._draining = False

    def close(self) -> None:
        """Stop all timers."""
        self.workers.close()
        for job in self.jobs.values():
            job.clear_timer()

    async def _wait_for_job(self) -> bool:
        hold_s = DRAIN_HOLD_S if self._draining else self.limits.take_hold_s
        try:
            async with asyncio.timeout(hold_s):
                while not self._queued or self._draining:
                    await self._take_turn()
                    if self._draining:
                        return False
        except TimeoutError:
            return False
        return True

    async def _take_turn(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._takers.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self._takers:
                self._takers.remove(waiter)
            else:
                # A wake-up that its taker did not live to use belongs to the next one.
                self._wake_taker()
            raise

    def _wake_taker(self) -> None:
        while self._takers and self._queued and not self._draining:
            waiter = self._takers.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _enqueue(self, job: Job, *, front: bool = False) -> None:
        queue = self._queue_of(job)
        queue[job.id] = job
        if front:
            queue.move_to_end(job.id, last=False)
        self._wake_taker()

    @property
    def _queued(self) -> bool:
        return bool(self._queue or self._batch_queue)

    def _queue_of(self, job: Job) -> OrderedDict[str, Job]:
        return self._queue if job.request.batch_id is None else self._batch_queue

    def _requeue(self, job: Job, *, front: bool = False) -> None:
        self._detach(job)
        job.clear_timer("execution")
        job.reset()
        job.status = JobStatus.IN_QUEUE
        self._enqueue(job, front=front)
        job.notify()

    def _start(self, job: Job, worker: WorkerRecord) -> None:
        now = time.monotonic()
        job.status = JobStatus.IN_PROGRESS
        job.worker_id = worker.id
        job.attempt += 1
        job.delivered = False
        job.reported_s = now
        job.metrics.taken_s = now
        worker.jobs.add(job.id)
        job.set_timer("execution", job.request.execution_timeout_ms / 1000, self._time_out)
        job.notify()

    def _detach(self, job: Job) -> None:
        if job.worker_id is not None:
            self.workers.get(job.worker_id).jobs.discard(job.id)

    def _finish(self, job: Job, status: JobStatus) -> None:
        self._detach(job)
        job.status = status
        job.metrics.finished_s = time.monotonic()
        job.clear_timer("execution")
        self._finished[status] += 1
        job.set_timer("retention", job.request.retention_s, self._delete)
        job.notify()
        if self.on_finish is not None:
            self.on_finish(job)

    def _stop(self, job: Job, status: JobStatus) -> None:
        """End a job that its worker did not end, and tell the worker if it has it."""
        if job.status is JobStatus.IN_QUEUE:
            del self._queue_of(job)[job.id]
        elif job.delivered:
            self._announce_stop(job)
        self._finish(job, status)

    def _announce_stop(self, job: Job) -> None:
        if job.worker_id is not None:
            worker = self.workers.get(job.worker_id)
            worker.stops.append(job.id)
            worker.wake_stop_polls()

    def _reported(self, worker_id: str, job_id: str, operation: str, size_bytes: int) -> Job | None:
        """Note a worker's POST and return its job; None if the job is not this worker's now."""
        worker = self.workers.touch(worker_id)
        job = self.jobs.get(job_id)
        if job is None:
            return None
        late = job.status is not JobStatus.IN_PROGRESS or job.worker_id != worker_id
        job.metrics.posts.append(Post(operation, worker.seen_s, size_bytes, late))
        if late:
            return None
        job.reported_s = worker.seen_s
        return job

    def _time_out(self, job: Job) -> None:
        job.error = f"job ran longer than {job.request.execution_timeout_ms} ms"
        self._stop(job, JobStatus.TIMED_OUT)

    def _expire(self, job: Job) -> None:
        if not job.final:
            job.error = f"job expired {job.request.ttl_ms} ms after its submission"
            self._stop(job, JobStatus.TIMED_OUT)
        self._delete(job)

    def _delete(self, job: Job) -> None:
        job.clear_timer()
        self.jobs.pop(job.id, None)

    def _check_silence(self, worker: WorkerRecord) -> None:
        oldest_s = time.monotonic() - self.limits.worker_timeout_s
        for job_id in list(worker.jobs):
            job = self.jobs[job_id]
            # A worker that sends heartbeats names its jobs in them; one without is trusted.
            if worker.lost or (worker.pings and job.reported_s <= oldest_s):
                self._lose(job, worker)

    def _lose(self, job: Job, worker: WorkerRecord) -> None:
        job.losses += 1
        if job.losses <= self.limits.lost_job_retries:
            self.retried += 1
            self._requeue(job, front=True)
            return
        job.error = f"worker {worker.id} stopped reporting on this job"
        self._stop(job, JobStatus.TIMED_OUT)
