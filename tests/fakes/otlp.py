"""A collector that takes metrics and traces by OTLP over HTTP, built on the official messages."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.fakes.loopback_server import LoopbackServer


class Collector:
    """What was received.

    Attributes:
        url: Base address.
        metrics: Metrics, the last received of each name.
        spans: All spans.
    """

    def __init__(self) -> None:
        self.url = ""
        self.metrics: dict[str, Any] = {}
        self.spans: list[Any] = []

    def receive(self, path: str, body: bytes) -> None:
        if path == "/v1/metrics":
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope in resource.scope_metrics:
                    self.metrics |= {metric.name: metric for metric in scope.metrics}
        elif path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    self.spans += scope.spans


@contextmanager
def collect() -> Iterator[Collector]:
    """Run a collector on loopback."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collector.receive(self.path, body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = LoopbackServer(Handler)
    collector.url = server.url
    try:
        yield collector
    finally:
        server.close()


def attributes_of(item: Any) -> dict[str, str]:
    """Return the text attributes of a point or span."""
    return {each.key: each.value.string_value for each in item.attributes}
