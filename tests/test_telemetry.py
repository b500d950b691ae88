"""Metrics of requests arrive at a collector, by the names of the GenAI conventions."""

import subprocess
import sys

import pytest

from tests.fakes.otlp import attributes_of, collect
from worker.telemetry import MetricsPusher, metrics_url
from worker.usage import UsageMeter

ANSWER = {
    "object": "chat.completion",
    "model": "m",
    "usage": {"prompt_tokens": 12, "completion_tokens": 34},
    "metrics": {"time_to_first_token_ms": 250},
}


def test_usage_of_requests_is_pushed_as_metrics():
    with collect() as collector:
        pusher = MetricsPusher(collector.url, interval_ms=60_000)
        meter = UsageMeter(1, "served", logs=False, pusher=pusher)
        for _ in range(3):
            span = meter.start()
            span.end()
            assert span.report("job", ANSWER) is None
        meter.close()
    assert set(collector.metrics) == {
        "gen_ai.server.request.duration",
        "gen_ai.server.time_to_first_token",
        "gen_ai.client.token.usage",
    }
    [duration] = collector.metrics["gen_ai.server.request.duration"].histogram.data_points
    assert duration.count == 3
    assert attributes_of(duration) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.response.model": "m",
    }
    [first] = collector.metrics["gen_ai.server.time_to_first_token"].histogram.data_points
    assert first.sum == pytest.approx(0.75)
    tokens = {
        attributes_of(point)["gen_ai.token.type"]: point.sum
        for point in collector.metrics["gen_ai.client.token.usage"].histogram.data_points
    }
    assert tokens == {"input": 36, "output": 102}


def test_close_without_a_request_imports_nothing():
    code = (
        "import sys; from worker.telemetry import MetricsPusher; "
        "MetricsPusher('http://127.0.0.1:1').close(); "
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "endpoint", ["http://c:4318", "http://c:4318/", "http://c:4318/v1/metrics"]
)
def test_metrics_url_adds_the_path_once(endpoint):
    assert metrics_url(endpoint) == "http://c:4318/v1/metrics"
