"""Reference page of all error codes."""

from __future__ import annotations

from worker.request.codes import ERROR_SPECS
from worker.request.routes import COHERE, MESSAGES
from worker_tools.render.markdown import render_template


def render_errors() -> str:
    """Return the page."""
    return render_template("errors.md.j2", specs=ERROR_SPECS, anthropic=MESSAGES, cohere=COHERE)
