"""W3C trace context inside a job: the queue has no headers that could carry it.

Source:
    https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import re
from typing import Any

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"

FORMS = {
    TRACEPARENT: re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z"),
    TRACESTATE: re.compile(r"[\x20-\x7e]{1,512}\Z"),
}

BODIES = ("openai_input", "body")
"""Members of a job's input that hold the client's own body."""


def split_trace_context(job_input: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a job's input without its trace context, and the context as headers.

    It may be a member of the input or, from an OpenAI client (`extra_body`), of the client's body.
    A context that is not valid is ignored, as the standard wants it.

    Args:
        job_input: The input; not modified.
    """
    headers: dict[str, str] = {}
    rest = _move_valid(job_input, headers)
    for name in BODIES:
        body = rest.get(name)
        if isinstance(body, dict) and (TRACEPARENT in body or TRACESTATE in body):
            rest = {**rest, name: _move_valid(body, headers)}
    return rest, headers if TRACEPARENT in headers else {}


def _move_valid(members: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    if not members.keys() & FORMS.keys():
        return members
    for name, form in FORMS.items():
        value = members.get(name)
        if isinstance(value, str) and form.match(value):
            headers.setdefault(name, value)
    return {name: value for name, value in members.items() if name not in FORMS}
