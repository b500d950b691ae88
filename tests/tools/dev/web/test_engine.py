"""Metrics of vLLM as text, and what a sample makes of two of them."""

from types import SimpleNamespace

import pytest

from worker_tools.dev.web import engine
from worker_tools.dev.web.engine import SERIES, EngineMonitor, read_metrics

TEXT = """\
# HELP vllm:num_requests_running Number of requests.
vllm:num_requests_running{engine="0",model_name="tiny"} 2.0
vllm:num_requests_running{engine="1",model_name="tiny"} 1.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 4.0
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.25
vllm:generation_tokens_total{engine="0",model_name="tiny"} 100.0
vllm:prompt_tokens_total{engine="0",model_name="tiny"} 50.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="tiny"} 1.5
vllm:time_to_first_token_seconds_count{engine="0",model_name="tiny"} 3.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1",model_name="tiny"} 3.0
http_requests_total 9
"""


def test_read_metrics_adds_up_engines_and_leaves_the_rest():
    found = read_metrics(TEXT)
    assert found[engine.RUNNING] == 3.0
    assert found[engine.WAITING] == 4.0
    assert len(found) == len(engine.NAMES)


async def test_sample_has_rates_since_the_last_one(monkeypatch):
    texts = iter(
        [TEXT, TEXT.replace("100.0", "300.0").replace(" 1.5", " 2.5").replace(" 3.0", " 5.0")]
    )
    times = iter([10.0, 12.0])
    samples = []
    monitor = EngineMonitor(lambda: [1], samples.append)

    async def connect():
        return [None]

    async def read(_client):
        return read_metrics(next(texts))

    monkeypatch.setattr(monitor, "_connect", connect)
    monkeypatch.setattr(engine, "_read", read)
    clock = SimpleNamespace(monotonic=lambda: next(times), time=lambda: 0.0)
    monkeypatch.setattr(engine, "time", clock)
    await monitor.sample()
    await monitor.sample()
    first, second = (dict(zip(SERIES, sample, strict=True)) for sample in samples)
    assert (first["tokens_out"], first["first_s"]) == (None, None)
    assert second["tokens_out"] == 100.0
    assert second["first_s"] == pytest.approx(0.5)
    assert second["cache"] == 0.25


async def test_sample_without_an_engine_is_none():
    monitor = EngineMonitor(lambda: [], lambda _samples: pytest.fail("sampled"))
    await monitor.sample()
    assert list(monitor.samples) == []


def test_find_socket_of_a_process_that_has_ended_is_none():
    assert engine.find_socket(2**22 - 1) is None
