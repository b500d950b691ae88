"""Results that come without inputs and in any order become lines in the order of the file."""

import json

import pytest

from worker_tools.batch.input_file import Line
from worker_tools.batch.results import Tally, match_results
from worker_tools.batch.state import Part

LINES = [Line(n, f"r-{n}", 0, 1) for n in (1, 2, 3)]
BODY = {"id": "cmpl-1", "usage": {"prompt_tokens": 3}}


def part(status="FINALIZED"):
    return Part(first=0, count=3, batch_id="batch_1", status=status)


def completed(custom_id, request_id="j"):
    response = {"status_code": 200, "request_id": "cmpl-1", "body": BODY}
    line = {"custom_id": custom_id, "response": response, "error": None}
    return {"id": request_id, "status": "COMPLETED", "output": [line]}


def failed(error, request_id="j"):
    return {"id": request_id, "status": "FAILED", "error": error}


def failed_by_worker(custom_id, code="invalid_parameter", status=400):
    error = {"message": "m", "code": code, "status": status, "custom_id": custom_id}
    return failed(json.dumps({"error": error}))


def test_answers_are_matched_by_custom_id_in_openais_format():
    records = match_results(
        LINES, [completed("r-3", "j3"), completed("r-1"), completed("r-2")], part()
    )
    assert records["r-3"] == {
        "id": "j3",
        "custom_id": "r-3",
        "response": {"status_code": 200, "request_id": "cmpl-1", "body": BODY},
        "error": None,
    }
    assert records.keys() == {"r-1", "r-2", "r-3"}


def test_error_of_the_worker_becomes_a_response_with_its_status():
    results = [completed("r-1"), failed_by_worker("r-2"), completed("r-3")]
    record = match_results(LINES, results, part())["r-2"]
    assert record["response"]["status_code"] == 400
    error = record["response"]["body"]["error"]
    assert error == {"message": "m", "code": "invalid_parameter", "status": 400}
    assert record["error"] is None


def test_failure_of_the_platform_goes_to_the_line_without_a_result():
    results = [completed("r-3"), failed("job timed out"), completed("r-1")]
    record = match_results(LINES, results, part())["r-2"]
    assert record["response"] is None
    assert record["error"] == {"code": "request_failed", "message": "job timed out"}


def test_different_failures_of_the_platform_are_all_named():
    results = [failed("timed out"), failed("lost"), completed("r-1")]
    records = match_results(LINES, results, part())
    assert {records[name]["error"]["message"] for name in ("r-2", "r-3")} == {"timed out or lost"}


@pytest.mark.parametrize(
    ("results", "status", "code"),
    [
        ([], "FINALIZED", "no_result"),
        ([], "FAILED", "batch_failed"),
        ([{"id": "j", "status": "CANCELLED"}] * 3, "CANCELLED", "batch_cancelled"),
        ([{"id": "j", "status": "COMPLETED", "output": ["x"]}] * 3, "FINALIZED", "unknown_answer"),
        ([completed("other")], "FINALIZED", "unknown_answer"),
        ([failed(None)], "FINALIZED", "request_failed"),
        ([failed({"error": 1})], "FINALIZED", "request_failed"),
    ],
)
def test_lines_without_a_result_have_a_reason(results, status, code):
    records = match_results(LINES, results, part(status))
    assert {record["error"]["code"] for record in records.values()} == {code}


def test_tally_adds_usage_of_every_route():
    tally = Tally()
    tally.add_usage({"prompt_tokens": 3, "completion_tokens": 2})
    tally.add_usage({"total_tokens": 5})
    tally.add_usage(
        {
            "input_tokens": 7,
            "output_tokens": 4,
            "input_tokens_details": {"cached_tokens": 6},
            "output_tokens_details": {"reasoning_tokens": 1},
        }
    )
    assert tally.tokens == {"input": 15, "cached": 6, "output": 6, "reasoning": 1}


def test_busy_time_counts_overlapping_requests_once():
    tally = Tally(busy=[(10, 14), (0, 4), (2, 5), (3, 4), (20, 21)])
    assert tally.busy_s == 10
