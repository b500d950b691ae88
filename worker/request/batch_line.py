"""A line of OpenAI's batch format as a job: its answer has the format of the output file."""

from __future__ import annotations

from typing import Any

from worker.request.codes import Code, request_error
from worker.request.job_input import MAX_CUSTOM_ID, BatchLineInput


def refuse_stream(line: BatchLineInput) -> None:
    """Raise a RequestError if the line asks for a stream, which a file cannot hold."""
    if (line.body or {}).get("stream"):
        raise request_error(
            Code.UNSUPPORTED_PARAMETER,
            "stream: a line of a batch is not streamed; leave it out",
            "stream",
        )


def build_batch_line(custom_id: str, reply: Any) -> dict[str, Any]:
    """Return the output line for a reply of vLLM, without the `id` that the platform gives it.

    Source:
        https://developers.openai.com/api/docs/guides/batch
    """
    request_id = reply.get("id") if isinstance(reply, dict) else None
    return {
        "custom_id": custom_id,
        "response": {"status_code": 200, "request_id": request_id, "body": reply},
        "error": None,
    }


def find_custom_id(job_input: object) -> str | None:
    """Return the `custom_id` of a job's input, valid or not; None if there is none."""
    custom_id = job_input.get("custom_id") if isinstance(job_input, dict) else None
    if isinstance(custom_id, str) and len(custom_id) <= MAX_CUSTOM_ID:
        return custom_id
    return None
