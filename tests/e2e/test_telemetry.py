"""Metrics and traces of a queue worker with the real engine, as a collector receives them."""

import asyncio

from tests.e2e.support.deployment import connect, deploy, make_environ
from tests.fakes.otlp import attributes_of, collect

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


async def test_job_is_in_the_callers_trace_and_in_the_pushed_metrics(tiny_model):
    output: list[str] = []
    with collect() as collector:
        environ = make_environ(
            tiny_model,
            OTLP_METRICS_ENDPOINT=collector.url,
            OTLP_TRACES_ENDPOINT=f"{collector.url}/v1/traces",
            OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="http/protobuf",
        )
        async with deploy(environ, output) as deployment, connect(deployment) as api:
            params = {"max_tokens": 5, "ignore_eos": True}
            job_input = {
                "prompt": "Hello",
                "sampling_params": params,
                "traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01",
            }
            answer = await api.runsync(job_input)
            assert answer["status"] == "COMPLETED", answer
            async with asyncio.timeout(30):
                while len(collector.spans) < 2:
                    await asyncio.sleep(0.1)
        metrics = collector.metrics
    spans = [each for each in collector.spans if each.trace_id.hex() == TRACE_ID]
    [job] = [each for each in spans if each.parent_span_id.hex() == SPAN_ID]
    [vllm] = [each for each in spans if each.parent_span_id == job.span_id]
    assert len(spans) == 2
    assert attributes_of(job)["messaging.message.id"] == answer["id"]
    assert job.start_time_unix_nano <= vllm.start_time_unix_nano
    assert vllm.end_time_unix_nano <= job.end_time_unix_nano
    tokens = {
        attributes_of(point)["gen_ai.token.type"]: point.sum
        for point in metrics["gen_ai.client.token.usage"].histogram.data_points
    }
    assert tokens["output"] == 5
    [duration] = metrics["gen_ai.server.request.duration"].histogram.data_points
    assert (duration.count, attributes_of(duration)["gen_ai.response.model"]) == (1, "tiny")
