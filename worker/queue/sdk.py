"""Every part of the RunPod SDK that this worker uses; the only module that imports it.

The queue's protocol, heartbeat, retries, fitness checks and stop signals are the SDK's. It is
imported late, while vLLM starts: the import takes about two seconds. `differences` compares what
is used here with the installed SDK; with any difference the worker runs the SDK's own loop.
"""

from __future__ import annotations

import inspect
from typing import Any

from aiohttp_retry import ExponentialRetry, RetryClient
from runpod.http_client import AsyncClientSession, TooManyRequests
from runpod.serverless.modules import rp_fitness, rp_http, rp_job, rp_ping, rp_scale
from runpod.serverless.modules.rp_logger import RunPodLogger
from runpod.serverless.modules.worker_state import JobsProgress, PingJobMirror

__all__ = [
    "AsyncClientSession",
    "ExponentialRetry",
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

MODULES = {"rp_http": rp_http, "rp_job": rp_job, "rp_ping": rp_ping, "rp_scale": rp_scale}
"""The SDK's modules that are looked at."""

EXPECTED_FUNCTIONS: dict[str, tuple[str, ...]] = {
    "rp_scale.JobScaler": ("config",),
    "rp_scale.JobScaler.run": ("self",),
    "rp_scale.JobScaler.get_jobs": ("self", "session"),
    "rp_scale.JobScaler.monitor_stop_signals": ("self", "session"),
    "rp_scale.JobScaler.stop_job": ("self", "job_id"),
    "rp_scale.JobScaler.kill_worker": ("self",),
    "rp_scale.JobScaler.is_alive": ("self",),
    "rp_job.get_job": ("session", "num_jobs"),
    "rp_job.handle_job": ("session", "config", "job"),
    "rp_http.send_result": ("session", "job_data", "job", "is_stream"),
    "rp_http.stream_result": ("session", "job_data", "job"),
    "rp_http._transmit": ("client_session", "url", "job_data"),
    "rp_ping.Heartbeat.start_ping": ("self", "mirror", "test"),
}
"""What the worker calls or replaces, with the parameters it counts on (runpod 1.12.0)."""

EXPECTED_TEXTS = ("rp_http.JOB_DONE_URL", "rp_http.JOB_STREAM_URL")
"""Where the worker posts to."""

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
    for name, expected in EXPECTED_FUNCTIONS.items():
        function = _find(name)
        if function is None:
            found.append(f"there is no {name}")
        elif (actual := tuple(inspect.signature(function).parameters)) != expected:
            found.append(f"{name} takes ({', '.join(actual)}), not ({', '.join(expected)})")
    found += [f"there is no {name}" for name in EXPECTED_TEXTS if _find(name) is None]
    scaler = JobScaler({})
    found += [
        f"a JobScaler has no {name}" for name in EXPECTED_ATTRIBUTES if not hasattr(scaler, name)
    ]
    return found


def _find(name: str) -> Any:
    """Return what the SDK has under a dotted name, or None."""
    module, *path = name.split(".")
    found: Any = MODULES[module]
    for part in path:
        found = getattr(found, part, None)
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
