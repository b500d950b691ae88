"""The trace context of a job reaches vLLM as headers, and is not a parameter."""

import pytest

from worker.request import Batching, RequestDefaults, parse_job

DEFAULTS = RequestDefaults("served", Batching(1, 50, 3.0), 16, reject_unknown=True)
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
HELLO = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    "job_input",
    [
        {"prompt": "a", "traceparent": PARENT},
        {"route": "/v1/completions", "body": {"prompt": "a"}, "traceparent": PARENT},
        {"route": "/v1/completions", "body": {"prompt": "a", "traceparent": PARENT}},
        {
            "openai_route": "/v1/chat/completions",
            "openai_input": {"messages": HELLO, "traceparent": PARENT},
        },
        {
            "custom_id": "1",
            "url": "/v1/completions",
            "body": {"prompt": "a"},
            "traceparent": PARENT,
        },
    ],
    ids=["native", "route", "body", "gateway", "batch"],
)
def test_parse_job_takes_the_trace_context_of_every_shape(job_input):
    request = parse_job(job_input, DEFAULTS)
    assert request.headers == {"traceparent": PARENT}
    assert "traceparent" not in (request.body or {})


def test_parse_job_takes_tracestate_with_its_parent_only():
    state = {"tracestate": "vendor=1"}
    both = {"prompt": "a", "traceparent": PARENT, **state}
    assert parse_job(both, DEFAULTS).headers == {"traceparent": PARENT, **state}
    assert parse_job({"prompt": "a", **state}, DEFAULTS).headers == {}


@pytest.mark.parametrize("value", ["", "x", 7, None, PARENT + "\n", PARENT.upper(), "00-" + PARENT])
def test_parse_job_ignores_an_invalid_trace_context(value):
    assert parse_job({"prompt": "a", "traceparent": value}, DEFAULTS).headers == {}


def test_parse_job_does_not_modify_its_input():
    body = {"prompt": "a", "traceparent": PARENT}
    parse_job({"route": "/v1/completions", "body": body}, DEFAULTS)
    assert body["traceparent"] == PARENT
