"""Turns RunPod's results into OpenAI's output and error files, in the order of the requests.

RunPod lists the requests of a batch without their inputs and in no documented order. The worker
repeats the `custom_id` of a line in its answer and in its errors. A failure that the platform
reports, such as a time-out, has none: it belongs to the lines that have no result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from worker.errors import shorten
from worker_tools.batch.input_file import InputFile, Line
from worker_tools.batch.state import Part, Progress, StateFolder, replace_file

MAX_MESSAGE_LENGTH = 500
"""Characters of a failure that the platform reports."""

NO_RESULT = "RunPod lists no result for this request"
CANCELLED = "the batch was cancelled before this request was processed"
FAILED = "RunPod failed the batch before this request was processed"
NO_CUSTOM_ID = "the endpoint's worker returns no custom_id; it has to be a newer runpod-vllm-worker"

Record = dict[str, Any]


@dataclass(slots=True)
class Tally:
    """Figures of a file.

    Attributes:
        answered: Requests with an answer.
        failed: Requests without.
        tokens: Numbers of tokens, by kind.
        busy: Start and end of every request's processing, seconds since the epoch.
    """

    answered: int = 0
    failed: int = 0
    tokens: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("input", "cached", "output", "reasoning"), 0)
    )
    busy: list[tuple[float, float]] = field(default_factory=list)

    def add_usage(self, usage: Mapping[str, Any]) -> None:
        """Add the token counts of one answer, of any route."""
        details_in = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
        details_out = usage.get("completion_tokens_details") or {}
        details_out = details_out or usage.get("output_tokens_details") or {}
        output = usage.get("completion_tokens", usage.get("output_tokens")) or 0
        given = usage.get("prompt_tokens", usage.get("input_tokens"))
        self.tokens["input"] += given if given is not None else usage.get("total_tokens") or 0
        self.tokens["output"] += output
        self.tokens["cached"] += details_in.get("cached_tokens") or 0
        self.tokens["reasoning"] += details_out.get("reasoning_tokens") or 0

    @property
    def busy_s(self) -> float:
        """Seconds in which at least one request was processed."""
        total, end = 0.0, 0.0
        for began, ended in sorted(self.busy):
            total += max(0.0, ended - max(began, end))
            end = max(end, ended)
        return total


def write_results(
    source: InputFile, progress: Progress, folder: StateFolder, output: Path, errors: Path
) -> Tally:
    """Write both files and return their figures; memory grows with one batch, not with the file."""
    tally = Tally()
    with replace_file(output) as answers, replace_file(errors) as failures:
        for record in _records(source, progress, folder, tally):
            answered = record["response"] is not None and record["response"]["status_code"] == 200
            target = answers if answered else failures
            target.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
            if answered:
                tally.answered += 1
                body = record["response"]["body"]
                usage = body.get("usage") if isinstance(body, dict) else None
                tally.add_usage(usage if isinstance(usage, dict) else {})
            else:
                tally.failed += 1
    return tally


def _records(
    source: InputFile, progress: Progress, folder: StateFolder, tally: Tally
) -> Iterator[Record]:
    done = 0
    for part in progress.parts:
        lines = source.lines[part.first : part.first + part.count]
        results = list(folder.load_results(part))
        tally.busy += [span for result in results if (span := _find_span(result)) is not None]
        records = match_results(lines, results, part)
        yield from (records[line.custom_id] for line in lines)
        done = part.first + part.count
    for line in source.lines[done:]:
        yield _failure("", line.custom_id, "batch_cancelled", CANCELLED)


def match_results(
    lines: Iterable[Line], results: Iterable[Mapping[str, Any]], part: Part
) -> dict[str, Record]:
    """Return the record of every line of a batch, by `custom_id`."""
    open_ids = dict.fromkeys(line.custom_id for line in lines)
    found: dict[str, Record] = {}
    strangers: list[Mapping[str, Any]] = []
    for result in results:
        record = _read_answer(result) or _read_error(result)
        if record is None or record["custom_id"] not in open_ids:
            strangers.append(result)
            continue
        del open_ids[record["custom_id"]]
        found[record["custom_id"]] = record
    code, message = _explain(strangers, part.status)
    for custom_id in open_ids:
        found[custom_id] = _failure(part.batch_id or "", custom_id, code, message)
    return found


def _read_answer(result: Mapping[str, Any]) -> Record | None:
    """Return the line that the worker has answered with; None if the output is none."""
    output = result.get("output")
    if isinstance(output, list) and len(output) == 1:
        output = output[0]
    match output:
        case {
            "custom_id": str(custom_id),
            "response": {"status_code": int(), "body": _} as response,
        }:
            record = {"id": result.get("id"), "custom_id": custom_id, "response": response}
            return {**record, "error": None}
    return None


def _read_error(result: Mapping[str, Any]) -> Record | None:
    """Return the line for an error of the worker; None if the platform reports the failure."""
    error = result.get("error")
    if isinstance(error, str):
        try:
            error = orjson.loads(error)
        except orjson.JSONDecodeError:
            return None
    match error:
        case {"error": {"custom_id": str(custom_id), "status": int(status), **members}}:
            body = {"error": {"status": status, **members}}
            response = {"status_code": status, "request_id": None, "body": body}
            record = {"id": result.get("id"), "custom_id": custom_id, "response": response}
            return {**record, "error": None}
    return None


def _explain(strangers: list[Mapping[str, Any]], status: str | None) -> tuple[str, str]:
    """Return code and message for the lines without a result of their own."""
    if any(result.get("status") == "COMPLETED" for result in strangers):
        return "unknown_answer", NO_CUSTOM_ID
    reasons = dict.fromkeys(
        shorten(str(result["error"]), MAX_MESSAGE_LENGTH) if result.get("error") else NO_RESULT
        for result in strangers
        if result.get("status") in ("FAILED", "TIMED_OUT")
    )
    if reasons:
        return "request_failed", " or ".join(list(reasons)[:3])
    if status == "CANCELLED":
        return "batch_cancelled", CANCELLED
    return ("batch_failed", FAILED) if status == "FAILED" else ("no_result", NO_RESULT)


def _failure(record_id: str, custom_id: str, code: str, message: str) -> Record:
    error = {"code": code, "message": message}
    return {"id": record_id, "custom_id": custom_id, "response": None, "error": error}


def _find_span(result: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return start and end of a request's processing, seconds since the epoch."""
    try:
        began, ended = (
            datetime.fromisoformat(str(result[name])) for name in ("startedAt", "completedAt")
        )
    except (KeyError, ValueError):
        return None
    return began.timestamp(), ended.timestamp()
