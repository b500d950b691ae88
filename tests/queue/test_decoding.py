"""Bodies of takes that Python's decoder refuses."""

import json

import pytest

from tests.support.costs import Run, assert_proportional
from worker.errors import RequestError
from worker.queue.decoding import (
    KEPT_LEVELS,
    FetchError,
    check_jobs,
    decode_strictly,
    decode_tolerantly,
)
from worker.request import UndecodableInput
from worker.request.codes import Code
from worker.request.json_value import check_json

DEEP = b"[" * 5000 + b"]" * 5000


def surround(job: bytes) -> bytes:
    return b'[{"id": "a", "input": 1},%s, {"input": {"x": [{}, "]"]}, "id": "z"}]' % job


GOOD = ({"id": "a", "input": 1}, {"id": "z", "input": {"x": [{}, "]"]}})


@pytest.mark.parametrize(
    ("member", "code", "param"),
    [
        pytest.param(DEEP, Code.INPUT_TOO_DEEP, "m", id="arrays"),
        pytest.param(b'{"k":' * 5000 + b"1" + b"}" * 5000, Code.INPUT_TOO_DEEP, "m", id="objects"),
        pytest.param(
            b'[{"k": [' * 2000 + b'"]\\"}"' + b"]}]" * 2000,
            Code.INPUT_TOO_DEEP,
            "m",
            id="brackets-in-deep-strings",
        ),
        pytest.param(b"1" * 5000, Code.INVALID_JSON_VALUE, "m", id="integer"),
        pytest.param(b"-" + b"1" * 5000, Code.INVALID_JSON_VALUE, "m", id="negative-integer"),
        pytest.param(b"[0, %s]" % (b"1" * 5000), Code.INVALID_JSON_VALUE, "m[1]", id="in-an-array"),
        pytest.param(b'"\xff"', Code.INVALID_JSON_VALUE, "m", id="not-utf-8"),
        pytest.param(b'"\xed\xa0\x80"', Code.INVALID_JSON_VALUE, "m", id="encoded-surrogate"),
        pytest.param(b'["\xff", %s]' % DEEP, Code.INVALID_JSON_VALUE, "m[0]", id="two-at-once"),
    ],
)
def test_decode_tolerantly_of_a_bad_value_keeps_the_other_jobs_and_names_the_member(
    member, code, param
):
    body = surround(b'{"id": "b", "input": {"prompt": "x", "m": %s, "n": [1]}}' % member)
    with pytest.raises((ValueError, RecursionError)):
        decode_strictly(body)
    first, bad, last = decode_tolerantly(body)
    assert (first, last) == GOOD
    assert bad["id"] == "b"
    assert bad["input"]["n"] == [1]
    with pytest.raises(RequestError) as caught:
        check_json(bad["input"])
    assert (caught.value.code, caught.value.param) == (code, param)


@pytest.mark.parametrize(
    ("job", "job_id"),
    [
        pytest.param(b'{"id": "b", "input": {"m": }}', "b", id="no-value"),
        pytest.param(b'{"input": {"id": "no", "m": tru}, "id": "b"}', "b", id="no-constant"),
        pytest.param(b'{"id": "b", "input": {"a" 1}}', "b", id="no-colon"),
        pytest.param(b'{"\\u0069d": "b", "input": [1 2]}', "b", id="escaped-name"),
        pytest.param(b'{"id": "c", "input": {,}, "id": "b"}', "b", id="last-of-two-ids"),
        pytest.param(b'{"id": "b", "input": %s x}' % DEEP, "b", id="deep-too"),
        pytest.param(b'{"input": {"id": "no"} x}', None, id="no-id"),
        pytest.param(b'{"id": 7 x, "input": {}}', None, id="no-string"),
        pytest.param(b"nonsense", None, id="no-object"),
    ],
)
def test_decode_tolerantly_of_broken_syntax_keeps_the_other_jobs_and_finds_the_id(job, job_id):
    first, bad, last = decode_tolerantly(surround(job))
    assert (first, last) == GOOD
    assert bad["id"] == job_id
    assert isinstance(bad["input"], UndecodableInput)
    assert bad["input"].error.code == Code.INVALID_JSON_VALUE


def test_decode_tolerantly_of_one_job_returns_it():
    assert decode_tolerantly(b' {"id": "a", "input": "\t"} ') == [{"id": "a", "input": "\t"}]
    (broken,) = decode_tolerantly(b'{"id": "a", "input": {]')
    assert broken["id"] == "a"


@pytest.mark.parametrize("body", [b"<html>", b'"text', b"\xff", b"7 8"])
def test_decode_tolerantly_of_no_json_is_an_error(body):
    with pytest.raises(FetchError):
        decode_tolerantly(body)


def test_decode_tolerantly_keeps_nesting_that_is_not_too_deep():
    value: object = "x"
    for _ in range(KEPT_LEVELS - 3):
        value = [value]
    body = surround(b'{"id": "b", "input": %s, "x": "\xff"}' % json.dumps(value).encode())
    assert decode_tolerantly(body)[1]["input"] == value


@pytest.mark.parametrize("value", [None, [], ""])
def test_check_jobs_of_nothing_is_no_job(value):
    assert check_jobs(value) == []


@pytest.mark.parametrize("value", ["text", 7, True, 1.5])
def test_check_jobs_of_something_else_is_an_error(value):
    with pytest.raises(FetchError):
        check_jobs(value)


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda n: b"[" * n + b"]" * n, id="deep"),
        pytest.param(lambda n: b"[" * n, id="deep-and-open"),
        pytest.param(lambda n: DEEP + b",[]" * n, id="many-arrays"),
        pytest.param(lambda n: DEEP + b',""' * n, id="many-strings"),
        pytest.param(lambda n: DEEP + b',"' + b'\\"' * n + b'"', id="escapes"),
        pytest.param(lambda n: DEEP + b',"' + b'\\"' * n, id="string-without-an-end"),
        pytest.param(lambda n: b"9" * n, id="integer"),
        pytest.param(lambda n: b",".join([b"9" * 4200] * (n // 4200)), id="long-integers"),
        pytest.param(lambda n: b'"%s"' % (b"\xff" * n), id="not-utf-8"),
        pytest.param(lambda n: b"," * n, id="commas"),
        pytest.param(lambda n: b"[,]" * n, id="broken-arrays"),
    ],
)
def test_decode_tolerantly_costs_in_proportion_to_the_body(build):
    def prepare(size: int) -> Run:
        body = surround(b'{"id": "b", "input": {"m": [%s], "f": "\xff"}}' % build(size))
        return lambda: decode_tolerantly(body)

    assert_proportional(prepare, 100_000)
