"""Metrics of requests, pushed by OTLP, with the names of OpenTelemetry's GenAI conventions.

A queue worker has no address from which metrics could be scraped. The SDK is imported in a thread
of its own, and only if an endpoint is set: the import takes longer than the worker's own start.

Source:
    https://github.com/open-telemetry/semantic-conventions-genai
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

log = logging.getLogger(__name__)

INTERVAL_MS = 15_000
"""Between two pushes; a worker lives for seconds to hours."""

CLOSE_S = 5.0
"""For the last push at the end of the worker."""

PATH = "/v1/metrics"

DURATIONS_S = [0.01 * 2**power for power in range(14)]
FIRST_TOKENS_S = [
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1,
    2.5,
    5,
    7.5,
    10,
]
TOKENS = [4.0**power for power in range(14)]
"""Bounds of the histograms, as the conventions advise."""

OPERATIONS = {
    "chat.completion": "chat",
    "chat.completion.chunk": "chat",
    "list": "embeddings",
    "response": "chat",
}
"""Value of `gen_ai.operation.name`, by the `object` of an answer; else `text_completion`."""


class MetricsPusher:
    """Pushes what usage records say.

    Args:
        endpoint: Address of a collector that takes OTLP over HTTP, e.g. `http://collector:4318`.
        interval_ms: Between two pushes.
    """

    def __init__(self, endpoint: str, interval_ms: int = INTERVAL_MS) -> None:
        self._endpoint = metrics_url(endpoint)
        self._interval_ms = interval_ms
        self._records: queue.SimpleQueue[tuple[Mapping[str, Any], str] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def add(self, record: Mapping[str, Any], answer_object: object) -> None:
        """Count one request.

        Args:
            record: Its usage record.
            answer_object: The member `object` of the answer.
        """
        if self._thread is None:
            # Not before: what the worker forks at its start must have no threads.
            self._thread = threading.Thread(target=self._run, name="otlp-metrics", daemon=True)
            self._thread.start()
        operation = OPERATIONS.get(str(answer_object), "text_completion")
        self._records.put((record, operation))

    def close(self) -> None:
        """Push what is left."""
        if self._thread is not None:
            self._records.put(None)
            self._thread.join(CLOSE_S)

    def _run(self) -> None:
        try:
            observe, shutdown = open_meter(self._endpoint, self._interval_ms)
        except ImportError as error:
            needed = "pip install 'runpod-vllm-worker[otlp]'"
            log.warning(
                "OTLP_METRICS_ENDPOINT has no effect: %s is not installed; %s", error.name, needed
            )
            return
        while (item := self._records.get()) is not None:
            observe(*item)
        shutdown()


def metrics_url(endpoint: str) -> str:
    """Return the address of the metrics at a collector."""
    endpoint = endpoint.rstrip("/")
    return endpoint if endpoint.endswith(PATH) else endpoint + PATH


def open_meter(
    url: str, interval_ms: int
) -> tuple[Callable[[Mapping[str, Any], str], None], Callable[[], None]]:
    """Return a function that observes a record, and one that pushes the rest and ends.

    Raises:
        ImportError: OpenTelemetry's SDK is not installed.
    """
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource

    reader = PeriodicExportingMetricReader(
        OTLPMetricExporter(endpoint=url), export_interval_millis=interval_ms
    )
    resource = Resource.create({"service.name": "runpod-vllm-worker"})
    provider = MeterProvider([reader], resource)
    meter = provider.get_meter("worker")

    def histogram(name: str, unit: str, bounds: list[float]) -> Any:
        return meter.create_histogram(name, unit, explicit_bucket_boundaries_advisory=bounds)

    duration = histogram("gen_ai.server.request.duration", "s", DURATIONS_S)
    first_token = histogram("gen_ai.server.time_to_first_token", "s", FIRST_TOKENS_S)
    tokens = histogram("gen_ai.client.token.usage", "{token}", TOKENS)

    def observe(record: Mapping[str, Any], operation: str) -> None:
        attributes = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": "vllm",
            "gen_ai.response.model": record["model"],
        }
        duration.record(record["total_s"], attributes)
        if record["first_token_s"] is not None:
            first_token.record(record["first_token_s"], attributes)
        for kind in ("input", "output"):
            count = record["tokens"][kind]
            if count is not None:
                tokens.record(count, {**attributes, "gen_ai.token.type": kind})

    return observe, provider.shutdown
