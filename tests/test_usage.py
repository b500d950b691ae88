"""The record of a request: tokens, seconds, share of the GPUs."""

import json

import pytest

from worker.usage import UsageMeter, count_tokens, find_answer


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_gpu_seconds_are_divided_among_running_requests(clock):
    meter = UsageMeter(2, "served", 0.001, clock)
    clock.now += 5  # Idle time belongs to nobody.
    first = meter.start()
    clock.now += 4
    second = meter.start()
    clock.now += 2
    first.end()
    clock.now += 3
    second.end()
    assert first.gpu_s == pytest.approx(2 * (4 + 1))
    assert second.gpu_s == pytest.approx(2 * (1 + 3))
    assert first.gpu_s + second.gpu_s == pytest.approx(2 * 9)


def test_end_twice_counts_once(clock):
    meter = UsageMeter(1, "served", None, clock)
    span = meter.start()
    clock.now += 1
    span.end()
    clock.now += 1
    span.end()
    assert span.gpu_s == 1
    other = meter.start()
    clock.now += 1
    other.end()
    assert other.gpu_s == 1


def test_record_has_the_figures_of_the_answer(clock):
    span = UsageMeter(1, "served", 0.00116, clock).start()
    clock.now += 0.5
    span.note_first()
    clock.now += 1.5
    span.end()
    clock.now += 1
    body = {
        "model": "adapter",
        "choices": [{"text": "secret words"}],
        "usage": {
            "prompt_tokens": 12,
            "completion_tokens": 34,
            "prompt_tokens_details": {"cached_tokens": 8},
            "completion_tokens_details": {"reasoning_tokens": 5},
        },
        "metrics": {"queue_time_ms": 250},
    }
    assert span.record("job-1", body) == {
        "id": "job-1",
        "model": "adapter",
        "tokens": {"input": 12, "cached": 8, "output": 34, "reasoning": 5},
        "queue_s": 0.25,
        "first_token_s": 0.5,
        "total_s": 3.0,
        "gpu_s": 2.0,
        "usd": 0.00232,
    }
    assert "secret" not in str(span.report("job-1", body))


def test_record_of_an_answer_without_usage_has_no_figures(clock):
    span = UsageMeter(1, "served", None, clock).start()
    span.end()
    record = span.record("j", {"usage": None, "model": 7, "metrics": []})
    assert record["tokens"] == dict.fromkeys(("input", "cached", "output", "reasoning"))
    assert (record["model"], record["usd"], record["queue_s"]) == ("served", None, None)
    assert span.record("j", {}, "asked")["model"] == "asked"


def test_record_may_stand_in_a_header(clock):
    span = UsageMeter(1, "served", None, clock).start()
    record = span.report("j\r\nX-Other: 1", {"model": "Straße\r\n" + "x" * 1000})
    assert record is not None
    assert record.isascii()
    assert record.isprintable()
    assert len(json.loads(record)["model"]) == 128


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"input": 1, "output": 2, "cached": 3, "reasoning": 4}, (1, 3, 2, 4)),
        ({"input_tokens": 1, "output_tokens": 2}, (1, None, 2, None)),
        ({"prompt_tokens": 1, "total_tokens": 1}, (1, None, None, None)),
        ({"prompt_tokens": "1"}, (None, None, None, None)),
    ],
)
def test_count_tokens_reads_every_form(usage, counts):
    tokens = count_tokens(usage)
    assert (tokens["input"], tokens["cached"], tokens["output"], tokens["reasoning"]) == counts


@pytest.mark.parametrize(
    ("outputs", "found"),
    [
        pytest.param([{"model": "m", "usage": {"prompt_tokens": 5}}], ("m", True), id="whole"),
        pytest.param(['data: {"model":"m","choices":[]}\n\n'], ("m", False), id="no-usage"),
        pytest.param([], (None, False), id="nothing"),
    ],
)
def test_find_answer_prefers_the_object_with_the_usage(outputs, found):
    answer = find_answer(outputs)
    assert (answer.get("model"), "usage" in answer) == found
