"""The span of a job arrives at a collector, with the ids that vLLM was given."""

import asyncio
import subprocess
import sys
from contextlib import nullcontext

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.fakes.otlp import attributes_of, collect
from worker.request import Code, request_error
from worker.tracing import CANCELLED, PROTOCOL, TRACEPARENT, TRACESTATE, JobTracer

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CONTEXT = {TRACEPARENT: f"00-{TRACE_ID}-{SPAN_ID}-01", TRACESTATE: "vendor=1"}


def trace(monkeypatch, context, error=None):
    """Return the span at the collector, if any, and the headers for vLLM."""
    monkeypatch.setenv(PROTOCOL, "http/protobuf")
    headers = {}
    with collect() as collector:
        tracer = JobTracer(f"{collector.url}/v1/traces")
        expected = nullcontext() if error is None else pytest.raises(type(error))
        with expected, tracer.span(context, {"messaging.message.id": "job-1"}) as headers:
            if error is not None:
                raise error
        tracer.close()
    return next(iter(collector.spans), None), headers


def test_span_belongs_to_the_trace_of_the_caller(monkeypatch):
    span, headers = trace(monkeypatch, CONTEXT)
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE_ID, SPAN_ID)
    assert headers[TRACEPARENT] == f"00-{TRACE_ID}-{span.span_id.hex()}-01"
    assert headers[TRACESTATE] == span.trace_state == "vendor=1"
    assert attributes_of(span) == {"messaging.message.id": "job-1"}
    assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
    assert span.status.code == Status.STATUS_CODE_UNSET


def test_span_without_a_caller_begins_a_trace(monkeypatch):
    span, headers = trace(monkeypatch, {})
    assert span.parent_span_id == b""
    assert headers == {TRACEPARENT: f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01"}


def test_trace_that_the_caller_does_not_sample_is_not_sent(monkeypatch):
    span, headers = trace(monkeypatch, {TRACEPARENT: f"00-{TRACE_ID}-{SPAN_ID}-00"})
    assert span is None
    assert headers[TRACEPARENT].endswith("-00")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        pytest.param(request_error(Code.ENGINE_DIED, "secret"), "engine_died", id="request"),
        pytest.param(ValueError("secret"), "ValueError", id="other"),
        pytest.param(asyncio.CancelledError(), CANCELLED, id="cancelled"),
        pytest.param(GeneratorExit(), CANCELLED, id="closed"),
    ],
)
def test_span_of_a_failed_job_has_the_kind_of_error_and_no_message(monkeypatch, error, kind):
    span, _ = trace(monkeypatch, {}, error)
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert attributes_of(span)["error.type"] == span.status.message == kind
    assert b"secret" not in span.SerializeToString()


def test_close_without_a_job_imports_nothing():
    code = (
        "import sys; from worker.tracing import JobTracer; "
        "JobTracer('http://127.0.0.1:1').close(); "
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
