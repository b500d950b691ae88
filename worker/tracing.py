"""A span for each job, around vLLM's own spans of it, pushed by OTLP to the same collector.

Ids are made here and the span is sent at its end. The SDK is imported in a thread only, as for the
metrics.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from worker.telemetry import SERVICE, Pusher

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
PROTOCOL = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
"""Environment variable that vLLM reads too; both default to gRPC."""
SAMPLED = "01"
CANCELLED = "cancelled"


@dataclass(slots=True)
class JobSpan:
    """One job.

    Attributes:
        parent: The caller's `traceparent`; empty for a new trace.
        state: The caller's `tracestate`.
        attributes: Names as of OpenTelemetry's conventions -> values, without content.
        span_id: Its own id, 16 digits.
        began_ns: When it began, since the epoch.
        ended_ns: When it ended; 0 while it runs.
        error: Code of the error that ended the job; empty for success.
    """

    parent: str
    state: str
    attributes: Mapping[str, str]
    trace_id: str = ""
    span_id: str = field(default_factory=lambda: secrets.token_hex(8))
    began_ns: int = field(default_factory=time.time_ns)
    ended_ns: int = 0
    error: str = ""

    def __post_init__(self) -> None:
        """Take the caller's trace or begin one."""
        self.trace_id = self.parent.split("-")[1] if self.parent else secrets.token_hex(16)

    def headers(self) -> dict[str, str]:
        """Return the headers that make vLLM's spans children of this one."""
        flags = self.parent.split("-")[3] if self.parent else SAMPLED
        own = {TRACEPARENT: f"00-{self.trace_id}-{self.span_id}-{flags}"}
        return own | ({TRACESTATE: self.state} if self.state else {})


class JobTracer:
    """Makes spans and pushes them.

    Args:
        endpoint: Address of the collector, as vLLM's `--otlp-traces-endpoint`.
    """

    def __init__(self, endpoint: str) -> None:
        self._pusher: Pusher[JobSpan] = Pusher(
            "OTLP_TRACES_ENDPOINT", lambda: open_tracer(endpoint)
        )

    @contextmanager
    def span(
        self, context: Mapping[str, str], attributes: Mapping[str, str]
    ) -> Iterator[dict[str, str]]:
        """Trace one job while the context is open.

        Args:
            context: The caller's trace context; may be empty.
            attributes: Of the span.

        Yields:
            Headers for the request to vLLM.
        """
        span = JobSpan(context.get(TRACEPARENT, ""), context.get(TRACESTATE, ""), attributes)
        try:
            yield span.headers()
        except Exception as error:
            span.error = str(getattr(error, "code", "")) or type(error).__name__
            raise
        except BaseException:
            span.error = CANCELLED
            raise
        finally:
            span.ended_ns = time.time_ns()
            self._pusher.add(span)

    def close(self) -> None:
        """Push the last spans."""
        self._pusher.close()


def open_tracer(endpoint: str) -> tuple[Callable[[JobSpan], None], Callable[[], None]]:
    """Return a function that exports a span, and one that exports the rest and ends.

    Raises:
        ImportError: OpenTelemetry's SDK or the exporter is not installed.
    """
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    class GivenIds(IdGenerator):
        span: JobSpan

        def generate_trace_id(self) -> int:
            return int(self.span.trace_id, 16)

        def generate_span_id(self) -> int:
            return int(self.span.span_id, 16)

    ids = GivenIds()
    provider = TracerProvider(resource=Resource.create(SERVICE), id_generator=ids)
    provider.add_span_processor(BatchSpanProcessor(_open_exporter(endpoint)))
    tracer = provider.get_tracer("worker")
    propagator = TraceContextTextMapPropagator()

    def export(span: JobSpan) -> None:
        ids.span = span
        carrier = {TRACEPARENT: span.parent, TRACESTATE: span.state}
        made = tracer.start_span(
            "job",
            propagator.extract(carrier, Context()),
            trace.SpanKind.CONSUMER,
            dict(span.attributes),
            start_time=span.began_ns,
        )
        if span.error:
            made.set_attribute("error.type", span.error)
            made.set_status(trace.StatusCode.ERROR, span.error)
        made.end(span.ended_ns)

    return export, provider.shutdown


def _open_exporter(endpoint: str) -> Any:
    if os.environ.get(PROTOCOL, "grpc") == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter(endpoint=endpoint, insecure=True)
    from opentelemetry.exporter.otlp.proto.http import trace_exporter

    return trace_exporter.OTLPSpanExporter(endpoint=endpoint)
