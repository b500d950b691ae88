"""RunPod's client operations: run, runsync, status, stream, cancel, retry, purge-queue, health."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker_tools.dev.job import Job, JobRequest
from worker_tools.dev.limits import Limits
from worker_tools.dev.reply import ApiError, parse_object, read_body, reply_json
from worker_tools.dev.store import JobStore

WAIT_RANGE_MS = (1000, 300_000)


class Policy(BaseModel):
    """A job's `policy`, as the platform documents it."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    execution_timeout_ms: int | None = Field(
        default=None,
        alias="executionTimeout",
        ge=5000,
        le=604_800_000,
        description="Milliseconds that the job may run; unset takes the endpoint's.",
    )
    ttl_ms: int | None = Field(
        default=None,
        alias="ttl",
        ge=10_000,
        le=604_800_000,
        description="Milliseconds from submission to deletion; unset takes the endpoint's.",
    )


class Submission(BaseModel):
    """Body of /run and /runsync; members that this endpoint does not use are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    input: Any = Field(description="What the handler gets as job['input']; must not be null.")
    webhook: str | None = Field(default=None, description="URL that gets the result by POST.")
    s3_config: dict[str, Any] | None = Field(
        default=None, alias="s3Config", description="Passed to the handler as job['s3Config']."
    )
    policy: Policy = Field(default=Policy(), description="Times and priority of this job.")


def parse_submission(body: bytes, limits: Limits, *, sync: bool, retention_s: float) -> JobRequest:
    """Turn the body of /run or /runsync into a job request.

    Args:
        body: Raw body.
        limits: Where unset times come from.
        sync: Whether it came through /runsync.
        retention_s: Seconds that the result is kept.

    Raises:
        ApiError: 400, naming the member that is wrong.
    """
    members = parse_object(body)
    if members.get("input") is None:
        raise ApiError(400, 'the body has no "input"; send {"input": {...}}')
    try:
        submission = Submission.model_validate(members)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ApiError(400, f"{place}: {first['msg']}") from error
    policy = submission.policy
    return JobRequest(
        input=submission.input,
        sync=sync,
        webhook=submission.webhook,
        s3_config=submission.s3_config,
        retention_s=retention_s,
        execution_timeout_ms=policy.execution_timeout_ms or limits.execution_timeout_ms,
        ttl_ms=policy.ttl_ms or limits.ttl_ms,
        size_bytes=len(body),
    )


class ClientApi:
    """Routes of the client side."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def routes(self, base: str) -> list[web.RouteDef]:
        """Return the routes below `base`, e.g. `/v2/local`."""
        return [
            web.post(f"{base}/run", self._run),
            web.post(f"{base}/runsync", self._runsync),
            web.get(f"{base}/status/{{job}}", self._status),
            web.post(f"{base}/status/{{job}}", self._status),
            web.get(f"{base}/stream/{{job}}", self._stream),
            web.post(f"{base}/stream/{{job}}", self._stream),
            web.post(f"{base}/cancel/{{job}}", self._cancel),
            web.post(f"{base}/retry/{{job}}", self._retry),
            web.post(f"{base}/purge-queue", self._purge),
            web.get(f"{base}/health", self._health),
            web.get(f"{base}/requests", self._requests),
            web.get(f"{base}/_dev/jobs/{{job}}", self._dev_job),
        ]

    async def _run(self, request: web.Request) -> web.Response:
        limits = self._store.limits
        body = await read_body(request, limits.run_body_bytes)
        submission = parse_submission(body, limits, sync=False, retention_s=limits.run_retention_s)
        job = self._store.submit(submission)
        return reply_json({"id": job.id, "status": job.status})

    async def _runsync(self, request: web.Request) -> web.Response:
        limits = self._store.limits
        asked_ms = parse_wait(request.query.get("wait"))
        kept_s = limits.runsync_retention_s
        if asked_ms is not None:
            kept_s = max(kept_s, asked_ms / 1000)
        body = await read_body(request, limits.runsync_body_bytes)
        job = self._store.submit(parse_submission(body, limits, sync=True, retention_s=kept_s))
        await job.finished((asked_ms or limits.runsync_wait_ms) / 1000)
        return reply_json(job.payload())

    async def _status(self, request: web.Request) -> web.Response:
        return reply_json(self._find(request).payload())

    async def _stream(self, request: web.Request) -> web.Response:
        job = self._find(request)
        return reply_json({"status": job.status, "stream": job.drain()})

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self._find(request)
        self._store.cancel(job)
        return reply_json({"id": job.id, "status": job.status})

    async def _retry(self, request: web.Request) -> web.Response:
        job = self._find(request)
        if not self._store.retry(job):
            raise ApiError(
                400, f"job {job.id} is {job.status}; only FAILED and TIMED_OUT jobs can be retried"
            )
        return reply_json({"id": job.id, "status": job.status})

    async def _purge(self, request: web.Request) -> web.Response:
        return reply_json({"removed": self._store.purge(), "status": "completed"})

    async def _health(self, request: web.Request) -> web.Response:
        counts = self._store.workers.counts()
        return reply_json({"jobs": self._store.job_counts(), "workers": counts})

    async def _requests(self, request: web.Request) -> web.Response:
        return reply_json({"requests": [job.payload() for job in self._store.jobs.values()]})

    async def _dev_job(self, request: web.Request) -> web.Response:
        return reply_json(describe_job(self._find(request)))

    def _find(self, request: web.Request) -> Job:
        job_id = request.match_info["job"]
        job = self._store.jobs.get(job_id)
        if job is None:
            raise ApiError(404, f"job {job_id} not found; results are deleted after a while")
        return job


def parse_wait(value: str | None) -> int | None:
    """Read the `wait` parameter of /runsync, in milliseconds.

    Args:
        value: Its text, None if absent.

    Raises:
        ApiError: 400, not a whole number of milliseconds in the documented range.
    """
    if value is None:
        return None
    least, most = WAIT_RANGE_MS
    if not value.isdecimal() or not least <= int(value) <= most:
        raise ApiError(400, f"wait has to be {least} to {most} milliseconds")
    return int(value)


def describe_job(job: Job) -> dict[str, Any]:
    """Return what was measured on a job: times in milliseconds after its submission."""
    metrics = job.metrics

    return {
        "id": job.id,
        "status": job.status,
        "workerId": job.worker_id,
        "attempts": job.attempt,
        "losses": job.losses,
        "takenMs": metrics.after_ms(metrics.taken_s),
        "firstChunkMs": metrics.after_ms(metrics.first_chunk_s),
        "finishedMs": metrics.after_ms(metrics.finished_s),
        "webhook": metrics.webhook,
        "totals": {
            kind: {
                "posts": sum(post.operation == kind for post in metrics.posts),
                "bytes": sum(p.size_bytes for p in metrics.posts if p.operation == kind),
            }
            for kind in ("stream", "done")
        },
        "posts": [
            {
                "operation": post.operation,
                "atMs": metrics.after_ms(post.at_s),
                "bytes": post.size_bytes,
                "late": post.late,
            }
            for post in metrics.posts
        ],
    }
