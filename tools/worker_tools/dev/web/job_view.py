"""What the page shows of a job: one line in the list, and everything about one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import orjson

from worker.request.codes import ERROR_SPECS, Code
from worker_tools.dev.job import RETRIABLE, Job
from worker_tools.dev.web.history import Entry

MAX_SHOWN_BYTES = 512 * 1024
"""Bytes of a request, of the chunks and of a result, each, that the page gets."""

MOST_POSTS = 2000
"""Posts in the timeline of one job."""

SHAPES = {"messages": "chat", "prompt": "prompt"}
MAX_NAME_LENGTH = 120


def summarize(entry: Entry) -> dict[str, Any]:
    """Return a job as a line of the list; times in milliseconds."""
    job = entry.job
    entry.count_posts()
    times = job.metrics
    kind, streams, model = describe_request(job.request.input)
    return {
        "n": entry.number,
        "id": job.id,
        "status": job.status,
        "kind": kind,
        "stream": streams,
        "model": model,
        "at": round(entry.submitted_ms),
        "taken": times.after_ms(times.taken_s),
        "first": times.after_ms(times.first_chunk_s),
        "ended": times.after_ms(times.finished_s),
        "in": entry.usage and entry.usage.tokens_in,
        "out": entry.usage and entry.usage.tokens_out,
        "posts": entry.posts,
        "bytes": entry.posted_bytes,
        "code": _shorten(find_error(job).get("code")),
        "worker": job.worker_id,
    }


def describe_request(job_input: Any) -> tuple[str, bool, str | None]:
    """Return the kind of a request, whether it streams, and the model it names."""
    if not isinstance(job_input, Mapping):
        return "other", False, None
    body: Any = job_input
    kind = "native"
    if "openai_route" in job_input:
        kind = str(job_input["openai_route"])[:MAX_NAME_LENGTH]
        body = job_input.get("openai_input")
    if not isinstance(body, Mapping):
        return kind, False, None
    if kind == "native":
        shape = next((SHAPES[name] for name in SHAPES if name in body), "other")
        kind = f"native {shape}"
    model = body.get("model")
    return kind, body.get("stream") is True, _shorten(model)


def _shorten(name: Any) -> str | None:
    return None if name is None else str(name)[:MAX_NAME_LENGTH]


def describe(entry: Entry, lines: Sequence[Any], *, is_kept: bool) -> dict[str, Any]:
    """Return everything about a job.

    Args:
        entry: The job.
        lines: Its lines of the worker's log.
        is_kept: Whether the endpoint still has it.
    """
    job = entry.job
    times = job.metrics
    posts = times.posts[:MOST_POSTS]
    return {
        **summarize(entry),
        "attempts": job.attempt,
        "losses": job.losses,
        "webhook": times.webhook,
        "can": {
            "cancel": is_kept and not job.final,
            "retry": is_kept and job.status in RETRIABLE,
        },
        "timeline": [
            [post.operation, times.after_ms(post.at_s), post.size_bytes, post.late]
            for post in posts
        ],
        "hiddenPosts": len(times.posts) - len(posts),
        "request": limit(job.request.input),
        "chunks": limit_list(job.chunks),
        "output": limit(job.output),
        "error": find_error(job) or None,
        "log": lines,
    }


def find_error(job: Job) -> dict[str, Any]:
    """Return the error of a job as an OpenAI error object, with its code's documentation."""
    if job.error is None:
        return {}
    error: Any = {"message": str(job.error)}
    if isinstance(job.error, str):
        with suppress(orjson.JSONDecodeError):
            decoded = orjson.loads(job.error)
            if isinstance(decoded, Mapping) and isinstance(decoded.get("error"), Mapping):
                error = dict(decoded["error"])
    with suppress(ValueError):
        spec = ERROR_SPECS[Code(error.get("code"))]
        error["docs"] = {
            "meaning": spec.meaning,
            "remedy": spec.remedy,
            "page": f"docs/errors.md#{error['code']}",
        }
    return error  # type: ignore[no-any-return]


def limit(value: Any) -> dict[str, Any]:
    """Return a value for the page: whole, or the beginning of its JSON if it is large."""
    text = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)
    # A fragment is what a test submits; its bytes may not be JSON.
    if len(text) <= MAX_SHOWN_BYTES and not isinstance(value, orjson.Fragment):
        return {"bytes": len(text), "value": orjson.Fragment(text)}
    return {"bytes": len(text), "start": text[:MAX_SHOWN_BYTES].decode(errors="replace")}


def limit_list(values: Sequence[Any]) -> dict[str, Any]:
    """Return the first values whose JSON together is within the limit."""
    shown: list[orjson.Fragment] = []
    size = 0
    for value in values:
        text = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)
        size += len(text)
        if size > MAX_SHOWN_BYTES:
            break
        shown.append(orjson.Fragment(text))
    return {"values": shown, "hidden": len(values) - len(shown)}
