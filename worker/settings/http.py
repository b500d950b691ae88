"""What clients may take over HTTP, behind a load balancer and on a pod."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from worker.metadata import Meta
from worker.settings.types import SettingsModel


class HttpSettings(SettingsModel):
    """How many clients connect over HTTP, and how long they may take."""

    max_connections: Annotated[
        int | None,
        Meta(
            "HTTP_MAX_CONNECTIONS",
            unit="connections",
            title="HTTP: max connections",
            example="2000",
            default_text="twice MAX_CONCURRENCY, at least 1000",
        ),
        Field(ge=1, le=100_000),
    ] = None
    """Most open connections of the HTTP port. One more replaces the connection that is idle for
    longest, or is answered 503 where none is idle."""
    header_timeout_s: Annotated[
        float,
        Meta("HTTP_HEADER_TIMEOUT_S", unit="seconds", title="HTTP: header timeout"),
        Field(gt=0, le=3600),
    ] = 20.0
    """Longest time that the head of an HTTP request may take to arrive. The connection is then
    closed."""
    body_timeout_s: Annotated[
        float,
        Meta("HTTP_BODY_TIMEOUT_S", unit="seconds", title="HTTP: body timeout"),
        Field(gt=0, le=86_400),
    ] = 120.0
    """Longest time that the body of an HTTP request may take to arrive. The request is then
    answered 408."""
    write_timeout_s: Annotated[
        float,
        Meta("HTTP_WRITE_TIMEOUT_S", unit="seconds", title="HTTP: write timeout"),
        Field(gt=0, le=86_400),
    ] = 60.0
    """Longest time that a client may read nothing of its answer. The connection is then closed and
    the request is aborted in vLLM."""
