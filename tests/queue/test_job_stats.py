import re

import pytest

from worker.queue.job_stats import (
    JobStats,
    find_finish_reason,
    find_queue_time_ms,
    find_usage,
)
from worker.request.codes import Code, request_error

NATIVE = {
    "choices": [{"tokens": ["secret text"], "finish_reason": "length"}],
    "usage": {"input": 5, "output": 7},
}
WHOLE = {
    "choices": [{"message": {"content": "secret text"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
}
EVENTS = (
    'data: {"choices":[{"delta":{"content":"secret text"},"finish_reason":"stop"}]}\n\n'
    'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7}}\n\ndata: [DONE]\n\n'
)
TIMED = {"metrics": {"time_to_first_token_ms": 9.0, "queue_time_ms": 1250.0}}
TIMED_EVENTS = (
    'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7},'
    '"metrics":{"queue_time_ms":1250.0}}\n\ndata: [DONE]\n\n'
)
PLAIN_EVENTS = 'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize(
    ("outputs", "usage", "reason"),
    [
        pytest.param([{"choices": []}, NATIVE], (5, 7), "length", id="native"),
        pytest.param([WHOLE], (5, 7), "stop", id="whole"),
        pytest.param(["data: {}\n\n", EVENTS], (5, 7), "stop", id="raw-events"),
        pytest.param([PLAIN_EVENTS], (None, None), "stop", id="events-without-usage"),
        pytest.param([[WHOLE]], (5, 7), "stop", id="parsed-events"),
        pytest.param([], (None, None), None, id="nothing"),
        pytest.param([{"data": [1, 2]}], (None, None), None, id="something-else"),
        pytest.param([{"usage": None, "choices": None}], (None, None), None, id="nulls"),
    ],
)
def test_find_usage_and_reason_read_the_last_outputs(outputs, usage, reason):
    assert find_usage(outputs) == usage
    assert find_finish_reason(outputs) == reason


@pytest.mark.parametrize(
    ("outputs", "queued_ms"),
    [
        pytest.param([{**NATIVE, **TIMED}], 1250.0, id="native"),
        pytest.param([{**WHOLE, **TIMED}], 1250.0, id="whole"),
        pytest.param(["data: {}\n\n", TIMED_EVENTS], 1250.0, id="raw-events"),
        pytest.param([[{**WHOLE, **TIMED}]], 1250.0, id="parsed-events"),
        pytest.param([WHOLE], None, id="not-asked-for"),
        pytest.param([{**WHOLE, "metrics": None}], None, id="null"),
        pytest.param([{**WHOLE, "metrics": {"queue_time_ms": None}}], None, id="several-sequences"),
    ],
)
def test_find_queue_time_ms_returns_the_wait_in_vllm(outputs, queued_ms):
    assert find_queue_time_ms(outputs) == queued_ms


def test_summary_line_has_the_queue_time():
    line = JobStats().summary_line({"output": [{**NATIVE, **TIMED}]})
    assert line.startswith("Finished: 0.00 s, waited 1.25 s in vLLM, 5 tokens in")


def test_summary_line_of_a_job_has_no_content():
    stats = JobStats()
    stats.record_post(100)
    stats.record_post(50)
    line = stats.summary_line({"output": [NATIVE]})
    assert line.startswith("Finished: 0.00 s, first output after 0.00 s, 5 tokens in, 7 tokens out")
    assert line.endswith("ended by length, 2 posts of 150 bytes")
    assert "secret" not in line


@pytest.mark.parametrize(
    ("param", "shown"),
    [
        pytest.param("sampling_params.n", "sampling_params.n", id="member"),
        pytest.param("messages[3].role", "messages[3].role", id="index"),
        pytest.param("tools[0].secret text", "tools[0].secret…", id="name-with-a-space"),
        pytest.param("a\nb", "a…", id="name-with-a-line-end"),
        pytest.param("é", "…", id="name-not-in-ascii"),
        pytest.param("x" * 5000, "x" * 120 + "…", id="long-name"),
        pytest.param("vllm_xargs.mine", "vllm_xargs…", id="name-of-the-author"),
        pytest.param("a.json.mine[0]", "a.json…", id="name-in-a-schema"),
    ],
)
def test_summary_line_of_a_failure_has_parameter_and_place(param, shown):
    error = request_error(Code.INVALID_PARAMETER, "secret text", param)
    stats = JobStats()
    stats.record_failure(error.json(), error.raised_at)
    line = stats.summary_line({"error": error.json()})
    place = rf"{re.escape(__name__)}:\d+"
    assert re.match(
        rf"Failed with invalid_parameter at {re.escape(shown)} \(raised in {place}\): ", line
    )
    assert "secret text" not in line


def test_summary_line_of_another_error_has_no_place():
    stats = JobStats()
    stats.record_failure(request_error(Code.INVALID_PARAMETER, "a").json(), "a.b:7")
    line = stats.summary_line({"error": request_error(Code.RESULT_REFUSED, "b").json()})
    assert line.startswith("Failed with result_refused: ")


def test_summary_line_counts_rejected_posts():
    stats = JobStats()
    stats.record_post(100)
    stats.record_rejected_post()
    assert stats.summary_line({"output": []}).endswith(
        "1 posts of 100 bytes, 1 of them not accepted"
    )


@pytest.mark.parametrize(
    ("error", "start"),
    [
        (request_error(Code.ENGINE_DIED, "secret text").json(), "Failed with engine_died: "),
        ("secret text", "Failed: "),
        ('{"error": "secret text"}', "Failed: "),
    ],
)
def test_summary_line_of_a_failure_has_its_code(error, start):
    line = JobStats().summary_line({"error": error})
    assert line.startswith(start)
    assert "secret" not in line


def test_find_usage_reads_the_body_of_a_batch_line():
    body = {"usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    line = {"custom_id": "1", "response": {"status_code": 200, "body": body}, "error": None}
    assert find_usage([line]) == (3, 2)
