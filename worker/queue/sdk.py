"""Everything that this worker uses of the RunPod SDK; the only module that imports it.

The queue's protocol, heartbeat, retries, fitness checks and stop signals are the SDK's. It is
imported late, while vLLM starts: the import takes about two seconds. The worker runs only with the
pinned version, see `check_sdk_version`; `tests/queue/test_sdk_contract.py` checks what is used.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp_retry import ExponentialRetry, RetryClient
from runpod.http_client import AsyncClientSession, TooManyRequests
from runpod.serverless.modules import rp_fitness, rp_http, rp_job, rp_ping, rp_scale
from runpod.serverless.modules.rp_logger import RunPodLogger
from runpod.serverless.modules.worker_state import (
    PING_MIRROR_CAPACITY,
    JobsProgress,
    PingJobMirror,
)

from worker.queue.decoding import check_jobs, decode_strictly, decode_tolerantly

__all__ = [
    "AsyncClientSession",
    "ExponentialRetry",
    "JobScaler",
    "RetryClient",
    "TooManyRequests",
    "fetch_jobs",
    "hide_secrets",
    "job_done_url",
    "job_stream_url",
    "report_unhealthy",
    "run_fitness_checks",
    "runpod_log",
    "set_log_level",
    "start_heartbeat",
]

JobScaler = rp_scale.JobScaler

REQUEST_LINE_BYTES = 8000
"""Maximum request line of a heartbeat; common HTTP servers refuse more than 8190 bytes."""

REQUEST_LINE_REST_BYTES = 200
"""The rest of the line, without URL and job ids: method, HTTP version, SDK version."""

MIRROR_BYTES_PER_JOB = 64
"""Space for one job id; RunPod's have about 40 characters."""

MIRROR_DELAY_S = 0.1
"""Maximum delay until the heartbeat's process has a new job; it sends every ten seconds."""

runpod_log = RunPodLogger()


LOG_LEVELS = {"debug": "DEBUG", "info": "INFO", "warning": "WARN", "error": "ERROR"}
"""Our names of log levels -> the SDK's."""


def set_log_level(level: str) -> None:
    """Set the SDK's log level; its own default is DEBUG, which prints every token."""
    # Not `set_level`, which also prints a line.
    runpod_log.level = LOG_LEVELS[level]


def hide_secrets(redact: Callable[[str], str]) -> None:
    """Hide secrets in the SDK's log, before the SDK shortens a message and cuts a secret in two."""
    write = RunPodLogger.log

    def log(message: Any, message_level: str = "INFO", job_id: str | None = None) -> None:
        write(runpod_log, redact(str(message)), message_level, job_id)

    runpod_log.log = log


async def fetch_jobs(session: aiohttp.ClientSession, count: int) -> list[Any] | None:
    """Fetch up to `count` jobs with the SDK's own request, decoded one by one.

    The SDK decodes all fetched jobs at once; one that cannot be decoded would lose all of them.

    Returns:
        The jobs, of which each may be anything; None if there were none.

    Raises:
        TooManyRequests, aiohttp.ClientError, FetchError: The fetch failed.
    """
    jobs: list[Any] | None = await rp_job.get_job(_FetchSession(session), count)
    return jobs


class _FetchSession:
    """The part of the SDK's session that is used to fetch jobs."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @asynccontextmanager
    async def get(self, url: str) -> AsyncIterator[_FetchResponse]:
        async with self._session.get(url) as response:
            yield _FetchResponse(response)


class _FetchResponse:
    """A response whose `json` is a list of jobs, each decoded separately."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)

    async def json(self) -> list[Any]:
        body = await self._response.read()
        try:
            return check_jobs(decode_strictly(body))
        except (ValueError, RecursionError):
            # In a thread: it can take seconds for a hostile body of many megabytes.
            return await asyncio.to_thread(decode_tolerantly, body)


def job_stream_url(job_id: str) -> str:
    """Return where partial output of a job is posted."""
    return _fill_in(rp_http.JOB_STREAM_URL, job_id) + "&isStream=false"


def job_done_url(job_id: str) -> str:
    """Return where the result of a job is posted."""
    return _fill_in(rp_http.JOB_DONE_URL, job_id) + "&isStream=true"


def _fill_in(url: object, job_id: str) -> str:
    # RunPod's own ids need no quoting; any other id must not change the path.
    return str(url).replace("$ID", urllib.parse.quote(job_id, safe=""))


async def run_fitness_checks() -> None:
    """Run the checks that the user registered with the SDK; a failed one ends the process.

    The SDK's automatic checks are skipped. They import torch into this process and allocate on the
    GPU, and end a healthy worker if vLLM has taken all of its memory. `worker.engine.preflight`
    checks the same things without that.
    """
    state = rp_fitness._registration_state
    state.update(dict.fromkeys(state, True))
    await rp_fitness.run_fitness_checks()


def report_unhealthy(check: str, reason: str) -> None:
    """Report to the platform why this worker ends before it serves; never raises, 2 s at most.

    Args:
        check: The check that failed, one word.
        reason: In one sentence, without secrets; the SDK sends the first 256 characters.
    """
    rp_fitness._report_unhealthy(check, reason)


def start_heartbeat(max_jobs: int) -> None:
    """Start the SDK's heartbeat process, which reports the running jobs to the platform.

    Args:
        max_jobs: Limit of concurrent jobs.
    """
    mirror = PingJobMirror(max(PING_MIRROR_CAPACITY, max_jobs * MIRROR_BYTES_PER_JOB))
    progress = JobsProgress()
    progress.set_mirror(mirror)
    progress._notify_mirror = Debounced(progress._notify_mirror, MIRROR_DELAY_S)
    # The SDK's process looks the class up by this name.
    rp_ping.Heartbeat = Heartbeat
    Heartbeat().start_ping(mirror)


class Debounced:
    """Combines the calls of an interval into one call.

    The SDK rewrites the ids of all jobs whenever one starts or ends. 300 jobs that start together
    and end together would write 90,000 ids.

    Args:
        function: Called at the end of each interval that has a request. Without a running event
            loop it is called at once.
        delay_s: Length of the interval, seconds.
    """

    def __init__(self, function: Callable[[], object], delay_s: float) -> None:
        self._function = function
        self._delay_s = delay_s
        self._due: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        """Request a call."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._function()
            return
        if self._due is None:
            self._due = loop.call_later(self._delay_s, self._call)

    def _call(self) -> None:
        self._due = None
        self._function()


class Heartbeat(rp_ping.Heartbeat):  # type: ignore[misc]  # the SDK is untyped
    """Splits each heartbeat into as many requests as the job ids need.

    The SDK puts all ids into one URL. With 300 jobs it is longer than common HTTP servers accept.
    They answer 400, which the SDK treats as success, and the platform counts the worker as lost.
    """

    _mirror: Any = None

    def _send_ping(self) -> None:
        mirror = self._mirror
        room = REQUEST_LINE_BYTES - REQUEST_LINE_REST_BYTES - len(self.PING_URL)
        try:
            for part in split_job_ids(mirror.get() if mirror is not None else None, room):
                self._mirror = _JobIdSlice(part)
                super()._send_ping()
        finally:
            self._mirror = mirror


class _JobIdSlice:
    """Replaces the SDK's mirror while one slice of its ids is sent."""

    def __init__(self, job_ids: str | None) -> None:
        self._job_ids = job_ids

    def get(self) -> str | None:
        return self._job_ids


def split_job_ids(job_ids: str | None, room_bytes: int) -> Iterator[str | None]:
    """Split a list of job ids into parts that fit into a URL.

    Args:
        job_ids: Comma-separated; None for none.
        room_bytes: Limit of one part in its URL-encoded form, where a comma takes three bytes.

    Yields:
        At least one part, because an idle worker sends heartbeats too.
    """
    part: list[str] = []
    size = 0
    for job_id in (job_ids or "").split(","):
        needed = len(urllib.parse.quote_plus(job_id)) + len("%2C")
        if part and size + needed > room_bytes:
            yield ",".join(part)
            part, size = [], 0
        part.append(job_id)
        size += needed
    yield ",".join(part) or None
