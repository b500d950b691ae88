"""What is wrong with how a job of the soak ended, and with the stream that its reader got."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.e2e.support.deployment import TEXT
from worker_tools.dev.job import Job, JobStatus


def find_problem(kind: str, job: Job) -> str | None:
    """Return what is wrong with how a job ended, None if nothing is."""
    if job.status is JobStatus.FAILED:
        error = json.loads(str(job.error))["error"]
        if kind == "bad":
            return None if error["code"] == "unknown_parameter" else error["code"]
        return None if error.get("retryable") else str(error)
    if kind == "cancelled":
        return None if job.status in (JobStatus.CANCELLED, JobStatus.COMPLETED) else "not cancelled"
    if job.status is not JobStatus.COMPLETED:
        return str(job.error)
    if kind == "bad":
        return "accepted"
    if kind == "exact":
        outputs: Any = job.output
        text = "".join(part for output in outputs for part in output["choices"][0]["tokens"])
        return None if text == TEXT else f"got {text!r}"
    if kind == "chat":
        events = "".join(job.output if isinstance(job.output, list) else [])
        return None if events.endswith("data: [DONE]\n\n") else "the stream has no end"
    return None


def find_stream_problem(job: Job, *, unsure: bool) -> str | None:
    """Return how the chunks that a reader of the stream got differ from the job's result.

    Args:
        job: It has ended.
        unsure: Whether a chunk may have come twice.
    """
    if job.status is not JobStatus.COMPLETED or job.chunks == job.output:
        return None
    outputs: Any = job.output
    if unsure and is_repeated_only(job.chunks, outputs):
        return None
    return f"{len(job.chunks)} chunks were streamed, {len(outputs)} are in the result"


def is_repeated_only(chunks: Sequence[Any], outputs: Sequence[Any]) -> bool:
    """Return whether chunks are the outputs, some of them sent again at once.

    Outputs that follow each other may be equal themselves: a model can repeat a token.
    """
    place = 0
    for number, chunk in enumerate(chunks):
        if place < len(outputs) and chunk == outputs[place]:
            place += 1
        elif number == 0 or chunk != chunks[number - 1]:
            return False
    return place == len(outputs)
