import json
import math

import orjson
import pytest

from worker.errors import RequestError
from worker.request.json_value import MAX_DEPTH, check_json, json_type_name


def nest(levels: int, kind: str) -> object:
    value: object = "x"
    for _ in range(levels):
        value = [value] if kind == "array" else {"a": value}
    return value


@pytest.mark.parametrize("kind", ["array", "object"])
def test_check_json_depth_is_limited_without_recursion(kind):
    check_json({"prompt": nest(MAX_DEPTH - 1, kind)})

    for levels in (MAX_DEPTH, 100_000):
        with pytest.raises(RequestError) as caught:
            check_json({"prompt": nest(levels, kind)})
        assert (caught.value.code, caught.value.param) == ("input_too_deep", "prompt")
        assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ({"a": math.nan}, "a"),
        ({"a": {"b": [1, math.inf]}}, "a.b[1]"),
        ({"a": -math.inf}, "a"),
        ({"a": 2**64}, "a"),
        ({"a": [-(2**63) - 1]}, "a[0]"),
        ({"a": "\ud800"}, "a"),
        ({"a": [{"b\udfff": 1}]}, "a[0]"),
        ({"a": {5: 1}}, "a"),
        ({"a": b"bytes"}, "a"),
        ({"a": (1, 2)}, "a"),
    ],
)
def test_check_json_value_that_cannot_travel_is_refused(value, param):
    with pytest.raises(RequestError) as caught:
        check_json(value)

    assert (caught.value.code, caught.value.param) == ("invalid_json_value", param)
    json.loads(caught.value.json())


def test_check_json_what_passes_can_be_encoded():
    value = {
        "text": "ä€😀\x00",
        "numbers": [0, -(2**63), 2**64 - 1, 1e308, -0.0, True, None],
        "deep": nest(MAX_DEPTH - 1, "array"),
    }

    check_json(value)

    assert json.loads(orjson.dumps(value)) == value


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "null"),
        (True, "a boolean"),
        (1, "an integer"),
        (1.5, "a number"),
        ("", "a string"),
        ([], "an array"),
        ({}, "an object"),
        ((), "something else"),
    ],
)
def test_json_type_name_of_each_type(value, name):
    assert json_type_name(value) == name
