import re

import pytest

from worker.queue.account import Account, find_finish_reason, find_queue_time_ms, find_usage
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
def test_account_finds_what_the_answer_says(outputs, usage, reason):
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
def test_account_finds_how_long_the_request_waited(outputs, queued_ms):
    assert find_queue_time_ms(outputs) == queued_ms


def test_account_tells_how_long_the_request_waited():
    line = Account().describe({"output": [{**NATIVE, **TIMED}]})
    assert line.startswith("Finished: 0.00 s, waited 1.25 s in vLLM, 5 tokens in")


def test_account_describes_a_job_in_one_line_without_its_text():
    account = Account()
    account.post(100)
    account.post(50)
    line = account.describe({"output": [NATIVE]})
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
def test_account_names_the_member_and_the_place_of_a_failure(param, shown):
    error = request_error(Code.INVALID_PARAMETER, "secret text", param)
    account = Account()
    account.fail(error.json(), error.raised_at)
    line = account.describe({"error": error.json()})
    place = rf"{re.escape(__name__)}:\d+"
    assert re.match(
        rf"Failed with invalid_parameter at {re.escape(shown)} \(raised in {place}\): ", line
    )
    assert "secret text" not in line


def test_account_names_no_place_for_another_error_than_the_handlers():
    account = Account()
    account.fail(request_error(Code.INVALID_PARAMETER, "a").json(), "a.b:7")
    line = account.describe({"error": request_error(Code.RESULT_REFUSED, "b").json()})
    assert line.startswith("Failed with result_refused: ")


def test_account_counts_posts_that_were_not_accepted():
    account = Account()
    account.post(100)
    account.lose()
    assert account.describe({"output": []}).endswith("1 posts of 100 bytes, 1 of them not accepted")


@pytest.mark.parametrize(
    ("error", "start"),
    [
        (request_error(Code.ENGINE_DIED, "secret text").json(), "Failed with engine_died: "),
        ("secret text", "Failed: "),
        ('{"error": "secret text"}', "Failed: "),
    ],
)
def test_account_names_the_code_of_a_failure(error, start):
    line = Account().describe({"error": error})
    assert line.startswith(start)
    assert "secret" not in line
