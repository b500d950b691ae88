"""Request errors in the format of the called API: OpenAI's, Anthropic's or Cohere's."""

from __future__ import annotations

from typing import Any

import orjson

from worker.errors import RequestError
from worker.request.routes import COHERE, MESSAGES, RESPONSES, find_path

DONE = b"data: [DONE]\n\n"

_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""Anthropic's type of an error by its status (https://docs.anthropic.com/en/api/errors)."""


def error_body(error: RequestError, path: str) -> dict[str, Any]:
    """Return an error as the JSON body of an HTTP answer.

    Args:
        error: What went wrong.
        path: Path as the client sent it.
    """
    body = error.body()
    route = find_path(path)
    if route.startswith(MESSAGES):
        return {"type": "error", "error": {**body["error"], "type": _anthropic_type(error.status)}}
    if route.startswith(COHERE):
        return {"message": error.message, **body}
    return body


def error_events(error: RequestError, path: str) -> bytes:
    """Return an error as the end of a stream: one error event, and the end mark if there is one.

    Args:
        error: What ended the stream.
        path: Path as the client sent it.
    """
    own_form = find_path(path).startswith((MESSAGES, RESPONSES))
    return error_event(error, path) + (b"" if own_form else DONE)


def error_event(error: RequestError, path: str) -> bytes:
    """Return an error as one server-sent event, in the form of the route's own events.

    Args:
        error: What went wrong.
        path: Path as the client sent it.
    """
    body = error_body(error, path)
    route = find_path(path)
    if route.startswith(MESSAGES):
        return _named_event("error", body)
    if route.startswith(RESPONSES):
        return _named_event("error", {**body["error"], "type": "error", "sequence_number": 0})
    if route.startswith(COHERE):
        delta = {"error": error.message, "finish_reason": "ERROR"}
        return _event({"type": "message-end", "delta": delta})
    return _event(body)


def _anthropic_type(status: int) -> str:
    return _ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


def _named_event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\n".encode() + _event(data)
