"""The job loop, driven by events: a job starts when it arrives, not at the next look.

The SDK's `JobScaler` looks every 0.1 s for fetched jobs and every second for a free place. This
one keeps the rest of it (protocol, stop signals, progress) and replaces those two waits.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp

from worker.content import describe_exception
from worker.errors import RequestError
from worker.queue.delivery import Delivery, Handler
from worker.queue.job_stats import JobStats
from worker.queue.sdk import (
    AsyncClientSession,
    JobScaler,
    TooManyRequests,
    runpod_log,
    take_jobs,
)
from worker.request.codes import Code, request_error

TOO_MANY_REQUESTS_WAIT_S = 5.0
"""As in the SDK, after the platform answered 429 to a take."""

FIRST_RETRY_S = 0.2
LONGEST_RETRY_S = 5.0
"""Waits after a take that failed, doubling from the first to the longest."""

INTERNAL = "The worker failed while it answered; its log has the cause under this job's id."

EMPTY_TAKE_S = 0.1
"""A take without jobs is held open by the platform; one that is not is not repeated at once."""

LAST_TAKE_S = 1.0
"""How long a take that is under way at shutdown may still bring jobs: one that the platform has
handed out already must be answered, and closing the connection would lose it."""

CLOCK_LOOK_S = 2.0
"""Between two looks at the wall clock while a take is held open."""

FREEZE_S = 30.0
"""If the clock has moved so much further than that, the process was frozen, as FlashBoot does it.
The connections from before are dead by then, and nobody says so: a take on one would wait for its
time-out of 90 s while the job for which the platform woke this worker waits in the queue."""


class EventDrivenScaler(JobScaler):  # type: ignore[misc]  # the SDK is untyped
    """Takes jobs while there is a free place and runs each at once.

    Args:
        handler: Answers one job.
        max_concurrency: Jobs at the same time.
    """

    def __init__(self, handler: Handler, max_concurrency: int) -> None:
        super().__init__({"handler": handler})
        self.current_concurrency = max_concurrency
        self.jobs_fetcher = take_jobs
        self._handler = handler
        self._place_freed = asyncio.Event()
        self._thawed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._abort_reason: RequestError | None = None
        self._answering: set[str] = set()
        """Jobs whose handler runs; the others have not begun, or their result is being posted."""

    async def run(self) -> None:
        """Take and run jobs until `kill_worker`, then finish those that run."""
        async with AsyncClientSession() as session:
            delivery = Delivery(session)
            take = asyncio.create_task(self._take_jobs(session, delivery))
            stop_signals = asyncio.create_task(self._watch_stop_signals(session))
            stopped = asyncio.create_task(self._shutdown_event.wait())
            await asyncio.wait({stopped, take}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({take}, timeout=LAST_TAKE_S)
            take.cancel()
            await self._idle.wait()
            for task in (stopped, stop_signals, take):
                # Raises what ended the task by mistake: a worker that takes no more jobs must not
                # look alive.
                await _cancel(task)

    def abort_jobs(self, reason: RequestError) -> None:
        """End all running jobs now and report `reason` as their error.

        A job whose result is on its way to RunPod keeps it. A job that a last take still brings is
        reported like the others.
        """
        self._abort_reason = reason
        for job_id, task in list(self.jobs_tasks.items()):
            if job_id in self._answering:
                task.cancel()

    async def _take_jobs(self, session: aiohttp.ClientSession, delivery: Delivery) -> None:
        retry_s = FIRST_RETRY_S
        clock = asyncio.get_running_loop().time
        while self.is_alive():
            asked_at = clock()
            free = self.current_concurrency - len(self.jobs_tasks)
            if free <= 0:
                self._place_freed.clear()
                await self._place_freed.wait()
                continue
            try:
                jobs = await self._fetch(session, free)
            except TimeoutError:
                continue
            except TooManyRequests:
                await asyncio.sleep(TOO_MANY_REQUESTS_WAIT_S)
                continue
            except Exception as error:  # noqa: BLE001  the SDK raises bare `Exception` too
                runpod_log.error(f"Taking jobs failed: {type(error).__name__}: {error}")
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, LONGEST_RETRY_S)
                continue
            retry_s = FIRST_RETRY_S
            for job in jobs or []:
                self._begin(delivery, job)
            if not jobs and clock() - asked_at < EMPTY_TAKE_S:
                await asyncio.sleep(EMPTY_TAKE_S)

    async def _fetch(self, session: aiohttp.ClientSession, free: int) -> Any:
        """Take up to `free` jobs; None if there were none, or this process was frozen meanwhile."""
        fetch = asyncio.ensure_future(self.jobs_fetcher(session, free))
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.jobs_fetcher_timeout
        try:
            while not fetch.done():
                looked_at = time.time()
                await asyncio.wait({fetch}, timeout=CLOCK_LOOK_S)
                frozen = time.time() - looked_at > CLOCK_LOOK_S + FREEZE_S
                if frozen:
                    runpod_log.info("This worker was frozen; connecting anew")
                    self._thawed.set()
                    # What had arrived before the freeze is read first.
                    await asyncio.wait({fetch}, timeout=LAST_TAKE_S)
                if not fetch.done() and (frozen or clock() > deadline):
                    return None
            return fetch.result()
        finally:
            fetch.cancel()
            # Its error knows this frame: together they would wait for a collection of garbage.
            del fetch

    async def _watch_stop_signals(self, session: aiohttp.ClientSession) -> None:
        """Wait for jobs to stop, on a new connection after each freeze."""
        while self.is_alive():
            self._thawed.clear()
            thawed = asyncio.create_task(self._thawed.wait())
            monitor = asyncio.create_task(self.monitor_stop_signals(session))
            try:
                await asyncio.wait({thawed, monitor}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                thawed.cancel()
                await _cancel(monitor)
            if not self._thawed.is_set():
                return

    def _begin(self, delivery: Delivery, job: Any) -> None:
        job_id = job.get("id") if isinstance(job, dict) else None
        # An id that cannot be printed cannot be sent either, in a URL and a header.
        if not isinstance(job_id, str) or not job_id or not job_id.isprintable():
            runpod_log.error("RunPod sent a job without a usable id; it cannot be answered")
            return
        if job_id in self.jobs_tasks:
            runpod_log.warn("RunPod sent a job that runs already; ignored", job_id)
            return
        self.job_progress.add(job_id)
        self._idle.clear()
        task = asyncio.create_task(self._answer(delivery, job))
        self.jobs_tasks[job_id] = task
        # Not a `finally` in the task: one that is cancelled before its first step never gets there.
        task.add_done_callback(lambda _task: self._end(job_id))

    def _end(self, job_id: str) -> None:
        self.job_progress.remove(job_id)
        self._answering.discard(job_id)
        del self.jobs_tasks[job_id]
        self._place_freed.set()
        if not self.jobs_tasks:
            self._idle.set()

    async def _answer(self, delivery: Delivery, job: dict[str, Any]) -> None:
        job_id = job["id"]
        stats = JobStats()
        try:
            if self._abort_reason is None:
                self._answering.add(job_id)
                result = await delivery.run(self._handler, job, stats)
            else:
                result = self._report_abort(self._abort_reason, job_id)
        except asyncio.CancelledError:
            if self._abort_reason is None:
                runpod_log.info("Stopped by RunPod.", job_id)
                return
            result = self._report_abort(self._abort_reason, job_id)
        except Exception as error:  # noqa: BLE001  one job's trouble must not reach the others
            runpod_log.error(f"The answer failed: {describe_exception(error)}", job_id)
            result = {"error": request_error(Code.INTERNAL_ERROR, INTERNAL).json()}
        self._answering.discard(job_id)
        posted = await delivery.done(job_id, result)
        runpod_log.info(stats.summary_line(posted), job_id)

    def _report_abort(self, reason: RequestError, job_id: str) -> dict[str, Any]:
        runpod_log.error(f"Aborted: {reason.message}", job_id)
        return {"error": reason.json()}


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()
