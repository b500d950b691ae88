"""The platform's sizes and times; docs/local-endpoint.md says which of them are inferred."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

MIB = 1024 * 1024

# Where a value comes from: what RunPod documents, what its users report, what this project infers
# from RunPod's SDK, and what exists on this machine only.
DOCUMENTED: JsonDict = {"source": "documented"}
REPORTED: JsonDict = {"source": "reported by users"}
INFERRED: JsonDict = {"source": "inferred"}
LOCAL: JsonDict = {"source": "local only"}


class Limits(BaseModel):
    """What the local endpoint enforces; tests shorten the times."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_body_bytes: int = Field(
        default=10 * MIB,
        gt=0,
        description="Largest body of /run, in bytes; more is answered 400.",
        json_schema_extra=DOCUMENTED,
    )
    runsync_body_bytes: int = Field(
        default=20 * MIB,
        gt=0,
        description="Largest body of /runsync and of the OpenAI gateway, in bytes; more is 400.",
        json_schema_extra=DOCUMENTED,
    )
    done_body_bytes: int = Field(
        default=20 * MIB,
        gt=0,
        description="Largest result, in bytes; job-done answers 400 to more and it is lost.",
        json_schema_extra=REPORTED,
    )
    chunk_bytes: int = Field(
        default=MIB,
        ge=4,
        description="Largest streamed text, in bytes of UTF-8; more is split.",
        json_schema_extra=DOCUMENTED,
    )
    request_line_bytes: int = Field(
        default=64 * 1024,
        gt=0,
        description="Maximum length of a URL, in bytes; a heartbeat names every job in its URL.",
        json_schema_extra=INFERRED,
    )
    run_retention_s: float = Field(
        default=1800,
        gt=0,
        description="Seconds that the result of a /run job is kept.",
        json_schema_extra=DOCUMENTED,
    )
    runsync_retention_s: float = Field(
        default=60,
        gt=0,
        description="Seconds that the result of a /runsync job is kept.",
        json_schema_extra=DOCUMENTED,
    )
    runsync_wait_ms: int = Field(
        default=90_000,
        gt=0,
        description="Milliseconds that /runsync waits for the result unless ?wait= says otherwise.",
        json_schema_extra=DOCUMENTED,
    )
    execution_timeout_ms: int = Field(
        default=600_000,
        gt=0,
        description="Milliseconds that a job may run unless its policy says otherwise.",
        json_schema_extra=DOCUMENTED,
    )
    ttl_ms: int = Field(
        default=86_400_000,
        gt=0,
        description="Milliseconds from submission after which a job is deleted in any state.",
        json_schema_extra=DOCUMENTED,
    )
    take_hold_s: float = Field(
        default=10,
        gt=0,
        description="Seconds that job-take waits for a job before it answers 204.",
        json_schema_extra=INFERRED,
    )
    stop_hold_s: float = Field(
        default=20,
        gt=0,
        description="Seconds that job-stop waits for a signal before 204.",
        json_schema_extra=INFERRED,
    )
    worker_timeout_s: float = Field(
        default=45,
        gt=0,
        description="Seconds without a sign of life after which a worker or a job counts as lost.",
        json_schema_extra=INFERRED,
    )
    lost_job_retries: int = Field(
        default=1,
        ge=0,
        description="How often a job whose worker was lost goes back to the queue; then TIMED_OUT.",
        json_schema_extra=INFERRED,
    )
    webhook_retry_s: float = Field(
        default=10,
        gt=0,
        description="Seconds between the attempts to deliver a webhook.",
        json_schema_extra=DOCUMENTED,
    )
    webhook_hosts: frozenset[str] = Field(
        default=frozenset({"127.0.0.1", "localhost", "::1"}),
        description="Hosts that a webhook may name; a webhook to any other host is not called.",
        json_schema_extra=LOCAL,
    )
    batch_requests: int = Field(
        default=5000,
        gt=0,
        description="Maximum number of requests of a batch; more are answered 400.",
        json_schema_extra=DOCUMENTED,
    )
    batch_body_bytes: int = Field(
        default=10 * MIB,
        gt=0,
        description="Largest body of a batch operation, in bytes; more is answered 400.",
        json_schema_extra=DOCUMENTED,
    )
    batch_active: int = Field(
        default=10,
        gt=0,
        description="Maximum number of drafts and unfinished batches; more are 429.",
        json_schema_extra=DOCUMENTED,
    )
    batch_queued: int = Field(
        default=50_000,
        gt=0,
        description="Maximum number of queued requests in all batches; more are not finalized.",
        json_schema_extra=DOCUMENTED,
    )
    batch_page: int = Field(
        default=50,
        gt=0,
        description="Requests in a page of a batch's list unless ?limit= says otherwise.",
        json_schema_extra=DOCUMENTED,
    )
    batch_page_max: int = Field(
        default=1000,
        gt=0,
        description="Maximum number of requests in such a page.",
        json_schema_extra=INFERRED,
    )
    batch_retention_s: float = Field(
        default=86_400,
        gt=0,
        description="Seconds after which /status no longer knows a batch's finished request.",
        json_schema_extra=INFERRED,
    )
    rate_limits: bool = Field(
        default=False,
        description="Whether RunPod's documented request rates are enforced.",
        json_schema_extra=DOCUMENTED,
    )


def describe_limits() -> str:
    """Return all limits as the Markdown table of docs/local-endpoint.md."""
    rows = ["| Limit | Default | Source | Meaning |", "|---|---|---|---|"]
    for name, field in Limits.model_fields.items():
        extra = field.json_schema_extra
        source = extra["source"] if isinstance(extra, dict) else ""
        default = field.default
        shown = ", ".join(sorted(default)) if isinstance(default, frozenset) else default
        rows.append(f"| `{name}` | {shown} | {source} | {field.description} |")
    return "\n".join(rows)
