"""The event-driven job loop: a job starts when it arrives, not at the next poll.

The SDK's `JobScaler` polls every 0.1 s for fetched jobs and every second for a free slot. This
subclass replaces those two waits and keeps the rest: protocol, stop signals, progress.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import aiohttp

from worker.content import describe_exception
from worker.errors import RequestError
from worker.queue.job_runner import Handler, JobRunner
from worker.queue.job_stats import JobStats
from worker.queue.sdk import (
    AsyncClientSession,
    JobScaler,
    TooManyRequests,
    fetch_jobs,
    runpod_log,
)
from worker.request.codes import Code, request_error
from worker.usage import LOG_PREFIX, Span, UsageMeter, find_answer

TOO_MANY_REQUESTS_WAIT_S = 5.0
"""Wait after the platform answered 429 to a fetch, as in the SDK."""

FIRST_RETRY_S = 0.2
MAX_RETRY_S = 5.0
"""Waits after a failed fetch, doubling from the first to the longest."""

INTERNAL = "The worker failed; its log has the cause under this job's id."

MAX_FETCHED_JOBS = 300
"""Jobs of one fetch, the default of MAX_CONCURRENCY. RunPod does not document its limit, and the
SDK takes the refusal of a larger fetch, a status 400, for an empty queue."""

MIN_POLL_INTERVAL_S = 0.1
"""The platform long-polls. If it answers an empty poll at once, wait this long before the next."""

FINAL_FETCH_GRACE_S = 1.0
"""How long a fetch may take to complete at shutdown. The platform may have assigned a job already,
and closing the connection would lose it."""

CLOCK_POLL_S = 2.0
"""Interval of reading the wall clock while a fetch is open."""

FREEZE_S = 30.0
"""If the clock has advanced by this much more, the process was frozen (FlashBoot). Its connections
are dead by then, without an error: a fetch on one would wait for its time-out of 90 s, while the
job for which the platform woke this worker waits in the queue."""


class EventDrivenScaler(JobScaler):  # type: ignore[misc]  # the SDK is untyped
    """Fetches jobs while a slot is free and starts each at once.

    Args:
        handler: Handles one job.
        max_concurrency: Limit of concurrent jobs.
        meter: Measures what each job takes, for its record in the log; None logs no records.
    """

    def __init__(
        self, handler: Handler, max_concurrency: int, meter: UsageMeter | None = None
    ) -> None:
        super().__init__({"handler": handler})
        self.current_concurrency = max_concurrency
        self.jobs_fetcher = fetch_jobs
        self._handler = handler
        self._meter = meter
        self._slot_freed = asyncio.Event()
        self._thawed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._abort_reason: RequestError | None = None
        self._handling: set[str] = set()
        """Jobs whose handler runs; the others have not started, or their result is being posted."""

    async def run(self) -> None:
        """Fetch and run jobs until `kill_worker`, then wait for the running ones."""
        async with AsyncClientSession() as session:
            runner = JobRunner(session)
            polling = asyncio.create_task(self._poll_jobs(session, runner))
            stop_signals = asyncio.create_task(self._watch_stop_signals(session))
            stopped = asyncio.create_task(self._shutdown_event.wait())
            await asyncio.wait({stopped, polling}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({polling}, timeout=FINAL_FETCH_GRACE_S)
            polling.cancel()
            await self._idle.wait()
            for task in (stopped, stop_signals, polling):
                # Raises the exception that ended the task. A worker that fetches no more jobs must
                # not stay alive.
                await _cancel(task)

    def abort_jobs(self, reason: RequestError) -> None:
        """End all running jobs now and report `reason` as their error.

        A job whose result is being posted keeps it. A job that the final fetch returns is reported
        like the others.
        """
        self._abort_reason = reason
        for job_id, task in list(self.jobs_tasks.items()):
            if job_id in self._handling:
                task.cancel()

    async def _poll_jobs(self, session: aiohttp.ClientSession, runner: JobRunner) -> None:
        retry_s = FIRST_RETRY_S
        clock = asyncio.get_running_loop().time
        while self.is_alive():
            asked_at = clock()
            free = self.current_concurrency - len(self.jobs_tasks)
            if free <= 0:
                self._slot_freed.clear()
                await self._slot_freed.wait()
                continue
            try:
                jobs = await self._fetch(session, min(free, MAX_FETCHED_JOBS))
            except TimeoutError:
                continue
            except TooManyRequests:
                await asyncio.sleep(TOO_MANY_REQUESTS_WAIT_S)
                continue
            except Exception as error:  # noqa: BLE001  the SDK raises bare `Exception` too
                runpod_log.error(f"Fetching jobs failed: {type(error).__name__}: {error}")
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, MAX_RETRY_S)
                continue
            retry_s = FIRST_RETRY_S
            for job in jobs or []:
                self._begin(runner, job)
            if not jobs and clock() - asked_at < MIN_POLL_INTERVAL_S:
                await asyncio.sleep(MIN_POLL_INTERVAL_S)

    async def _fetch(self, session: aiohttp.ClientSession, free: int) -> Any:
        """Fetch up to `free` jobs; None if there were none or this process was frozen."""
        fetch = asyncio.ensure_future(self.jobs_fetcher(session, free))
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.jobs_fetcher_timeout
        try:
            while not fetch.done():
                checked_at = time.time()
                await asyncio.wait({fetch}, timeout=CLOCK_POLL_S)
                frozen = time.time() - checked_at > CLOCK_POLL_S + FREEZE_S
                if frozen:
                    runpod_log.info("This worker was frozen; reconnecting")
                    self._thawed.set()
                    # Read first what had arrived before the freeze.
                    await asyncio.wait({fetch}, timeout=FINAL_FETCH_GRACE_S)
                if not fetch.done() and (frozen or clock() > deadline):
                    return None
            return fetch.result()
        finally:
            fetch.cancel()
            # Break the reference cycle between the exception's traceback and this frame.
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

    def _begin(self, runner: JobRunner, job: Any) -> None:
        job_id = job.get("id") if isinstance(job, dict) else None
        # An id that cannot be printed cannot be sent either, in a URL and a header.
        if not isinstance(job_id, str) or not job_id or not job_id.isprintable():
            runpod_log.error("RunPod sent a job without a usable id; it cannot be answered")
            return
        if job_id in self.jobs_tasks:
            runpod_log.warn("RunPod sent a job that is already running; ignored", job_id)
            return
        self.job_progress.add(job_id)
        self._idle.clear()
        task = asyncio.create_task(self._answer(runner, job))
        self.jobs_tasks[job_id] = task
        # Not a `finally` in the task: a task that is cancelled before its first step never runs it.
        task.add_done_callback(lambda _task: self._end(job_id))

    def _end(self, job_id: str) -> None:
        self.job_progress.remove(job_id)
        self._handling.discard(job_id)
        del self.jobs_tasks[job_id]
        self._slot_freed.set()
        if not self.jobs_tasks:
            self._idle.set()

    async def _answer(self, runner: JobRunner, job: dict[str, Any]) -> None:
        if self._meter is None:
            await self._answer_metered(runner, job, None)
            return
        span = self._meter.start()
        try:
            await self._answer_metered(runner, job, span)
        finally:
            span.end()

    async def _answer_metered(
        self, runner: JobRunner, job: dict[str, Any], span: Span | None
    ) -> None:
        job_id = job["id"]
        stats = JobStats()
        try:
            if self._abort_reason is None:
                self._handling.add(job_id)
                result = await runner.run(self._handler, job, stats)
            else:
                result = self._report_abort(self._abort_reason, job_id)
        except asyncio.CancelledError:
            if self._abort_reason is None:
                runpod_log.info("Stopped by RunPod.", job_id)
                return
            result = self._report_abort(self._abort_reason, job_id)
        except Exception as error:  # noqa: BLE001  a failed job must not affect the others
            runpod_log.error(f"The handler failed: {describe_exception(error)}", job_id)
            result = {"error": request_error(Code.INTERNAL_ERROR, INTERNAL).json()}
        self._handling.discard(job_id)
        if span is not None:
            span.end()
        posted = await runner.report_result(job_id, result)
        runpod_log.info(stats.summary_line(posted), job_id)
        if span is not None and (record := report_usage(span, job, stats, posted)) is not None:
            runpod_log.info(LOG_PREFIX + record, job_id)

    def _report_abort(self, reason: RequestError, job_id: str) -> dict[str, Any]:
        runpod_log.error(f"Aborted: {reason.message}", job_id)
        return {"error": reason.json()}


def report_usage(
    span: Span, job: Mapping[str, Any], stats: JobStats, result: Mapping[str, Any]
) -> str | None:
    """Push the usage record of a job; return it if it is to be logged."""
    span.first_s = stats.first_s
    job_input = job.get("input")
    asked = None
    # If the job did not fail, vLLM has accepted the name; otherwise it can be any text.
    if isinstance(job_input, dict) and "error" not in result:
        asked = job_input.get("model")
    return span.report(job["id"], find_answer(result.get("output") or []), asked)


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()
