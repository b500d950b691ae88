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
from typing import Any, Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

INTERVAL_MS = 15_000
"""Between two pushes; a worker lives for seconds to hours."""

CLOSE_S = 5.0
"""For the last push at the end of the worker."""

PATH = "/v1/metrics"

SERVICE = {"service.name": "runpod-vllm-worker"}

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


class Pusher(Generic[T]):
    """Hands items to OpenTelemetry's SDK in a thread of its own.

    Args:
        setting: Environment variable that asks for it, for the warning.
        open_sink: Returns a function that takes an item, and one that pushes the rest and ends.
            Raises ImportError if a package is missing.
    """

    def __init__(
        self,
        setting: str,
        open_sink: Callable[[], tuple[Callable[[T], None], Callable[[], None]]],
    ) -> None:
        self._setting = setting
        self._open_sink = open_sink
        self._items: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def add(self, item: T) -> None:
        """Push one item."""
        if self._thread is None:
            # Not before: what the worker forks at its start must have no threads.
            self._thread = threading.Thread(target=self._run, name=self._setting, daemon=True)
            self._thread.start()
        self._items.put(item)

    def close(self) -> None:
        """Push what is left."""
        if self._thread is not None:
            self._items.put(None)
            self._thread.join(CLOSE_S)

    def _run(self) -> None:
        try:
            take, shutdown = self._open_sink()
        except ImportError as error:
            needed = "pip install 'runpod-vllm-worker[otlp]'"
            log.warning(
                "%s has no effect: %s is not installed; %s", self._setting, error.name, needed
            )
            return
        while (item := self._items.get()) is not None:
            take(item)
        shutdown()


class MetricsPusher:
    """Pushes metrics of usage records.

    Args:
        endpoint: Address of a collector that takes OTLP over HTTP, e.g. `http://collector:4318`.
        interval_ms: Between two pushes.
    """

    def __init__(self, endpoint: str, interval_ms: int = INTERVAL_MS) -> None:
        url = metrics_url(endpoint)
        self._pusher: Pusher[tuple[Mapping[str, Any], str]] = Pusher(
            "OTLP_METRICS_ENDPOINT", lambda: open_meter(url, interval_ms)
        )
        self.close = self._pusher.close

    def add(self, record: Mapping[str, Any], answer_object: object) -> None:
        """Count one request.

        Args:
            record: Its usage record.
            answer_object: The member `object` of the answer.
        """
        self._pusher.add((record, OPERATIONS.get(str(answer_object), "text_completion")))


def metrics_url(endpoint: str) -> str:
    """Return the address of the metrics at a collector."""
    endpoint = endpoint.rstrip("/")
    return endpoint if endpoint.endswith(PATH) else endpoint + PATH


def open_meter(
    url: str, interval_ms: int
) -> tuple[Callable[[tuple[Mapping[str, Any], str]], None], Callable[[], None]]:
    """Return a function that observes a record with its operation, and one that pushes the rest.

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
    provider = MeterProvider([reader], Resource.create(SERVICE))
    meter = provider.get_meter("worker")

    def histogram(name: str, unit: str, bounds: list[float]) -> Any:
        return meter.create_histogram(name, unit, explicit_bucket_boundaries_advisory=bounds)

    duration = histogram("gen_ai.server.request.duration", "s", DURATIONS_S)
    first_token = histogram("gen_ai.server.time_to_first_token", "s", FIRST_TOKENS_S)
    tokens = histogram("gen_ai.client.token.usage", "{token}", TOKENS)

    def observe(item: tuple[Mapping[str, Any], str]) -> None:
        record, operation = item
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
