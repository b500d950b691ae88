"""Every part of the RunPod SDK that this worker uses; the only module that imports it.

The queue's protocol, heartbeat, retries, fitness checks and stop signals are the SDK's. It is
imported late, while vLLM starts: the import takes about two seconds. `differences` compares what
is used here with the installed SDK; with any difference the worker runs the SDK's own loop.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from aiohttp_retry import FibonacciRetry, RetryClient
from runpod.http_client import AsyncClientSession, TooManyRequests
from runpod.serverless.modules import rp_fitness, rp_http, rp_job, rp_ping, rp_scale
from runpod.serverless.modules.rp_logger import RunPodLogger
from runpod.serverless.modules.worker_state import JobsProgress, PingJobMirror

__all__ = [
    "AsyncClientSession",
    "FibonacciRetry",
    "JobScaler",
    "RetryClient",
    "TooManyRequests",
    "differences",
    "job_done_url",
    "job_stream_url",
    "run_fitness_checks",
    "runpod_log",
    "set_log_level",
    "start_heartbeat",
]

JobScaler = rp_scale.JobScaler

EXPECTED: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "JobScaler": (JobScaler, ("config",)),
    "JobScaler.run": (JobScaler.run, ("self",)),
    "JobScaler.get_jobs": (JobScaler.get_jobs, ("self", "session")),
    "JobScaler.monitor_stop_signals": (JobScaler.monitor_stop_signals, ("self", "session")),
    "JobScaler.stop_job": (JobScaler.stop_job, ("self", "job_id")),
    "JobScaler.kill_worker": (JobScaler.kill_worker, ("self",)),
    "JobScaler.is_alive": (JobScaler.is_alive, ("self",)),
    "get_job": (rp_job.get_job, ("session", "num_jobs")),
    "handle_job": (rp_job.handle_job, ("session", "config", "job")),
    "send_result": (rp_http.send_result, ("session", "job_data", "job", "is_stream")),
    "stream_result": (rp_http.stream_result, ("session", "job_data", "job")),
    "_transmit": (rp_http._transmit, ("client_session", "url", "job_data")),
    "Heartbeat.start_ping": (rp_ping.Heartbeat.start_ping, ("self", "mirror", "test")),
}
"""What the worker calls or replaces, with the parameters it counts on (runpod 1.12.0)."""

EXPECTED_ATTRIBUTES = (
    "_shutdown_event",
    "current_concurrency",
    "job_progress",
    "jobs_fetcher",
    "jobs_fetcher_timeout",
    "jobs_tasks",
)
"""What a `JobScaler` keeps and the event-driven loop uses."""

runpod_log = RunPodLogger()


LOG_LEVELS = {"debug": "DEBUG", "info": "INFO", "warning": "WARN", "error": "ERROR"}
"""Our names of log levels -> the SDK's."""


def set_log_level(level: str) -> None:
    """Set the SDK's log level; its own default is DEBUG, which prints every token."""
    # Not `set_level`: that one also prints a line about it.
    runpod_log.level = LOG_LEVELS[level]


def differences() -> list[str]:
    """Compare the installed SDK with what this worker was written for.

    Returns:
        One sentence per difference; empty when the event-driven loop can be used.
    """
    found = []
    for name, (function, expected) in EXPECTED.items():
        actual = tuple(inspect.signature(function).parameters)
        if actual != expected:
            found.append(f"{name} takes {actual}, not {expected}")
    scaler = JobScaler({})
    found += [
        f"JobScaler has no attribute {name}"
        for name in EXPECTED_ATTRIBUTES
        if not hasattr(scaler, name)
    ]
    return found


def job_stream_url(job_id: str) -> str:
    """Return where partial output of a job is posted."""
    return str(rp_http.JOB_STREAM_URL).replace("$ID", job_id) + "&isStream=false"


def job_done_url(job_id: str) -> str:
    """Return where the result of a job is posted."""
    return str(rp_http.JOB_DONE_URL).replace("$ID", job_id) + "&isStream=true"


async def run_fitness_checks() -> None:
    """Run the SDK's fitness checks; a failed one ends the process (`os._exit`)."""
    await rp_fitness.run_fitness_checks()


def start_heartbeat() -> None:
    """Start the SDK's heartbeat process, which tells the platform which jobs are in progress."""
    mirror = PingJobMirror()
    JobsProgress().set_mirror(mirror)
    rp_ping.Heartbeat().start_ping(mirror)
