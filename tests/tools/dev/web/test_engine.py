"""Metrics of vLLM as text, and what a sample makes of two of them."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import web

from worker.engine.client import EngineClient
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

    async def read(_client):
        return read_metrics(next(texts))

    monkeypatch.setattr(engine, "find_socket", lambda _pid: Path("socket"))
    monkeypatch.setattr(engine, "read_client", read)
    clock = SimpleNamespace(monotonic=lambda: next(times), time=lambda: 0.0)
    monkeypatch.setattr(engine, "time", clock)
    await monitor.sample()
    await monitor.sample()
    await monitor.forget()
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


@pytest.mark.parametrize("filters", [True, False])
async def test_read_client_asks_for_few_metrics_and_for_all_where_that_fails(tmp_path, filters):
    asked: list[object] = []

    async def few(request):
        asked.append(sorted(request.query.getall("name[]")))
        return web.Response(text=TEXT if filters else "")

    async def everything(_request):
        asked.append("all")
        return web.Response(text=TEXT)

    app = web.Application()
    app.add_routes([web.get("/metrics/", few), web.get("/metrics", everything)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "s")).start()
    client = EngineClient(tmp_path / "s")
    found = await engine.read_client(client)
    await client.close()
    await runner.cleanup()
    assert found == read_metrics(TEXT)
    assert asked == [sorted(engine.NAMES), *([] if filters else ["all"])]
