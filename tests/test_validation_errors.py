"""pydantic's errors in the words of the project."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from worker.validation_errors import (
    InvalidValue,
    closest,
    describe,
    expected_choices,
    expected_text,
    invalid_value,
    locate,
)


class Model(BaseModel):
    count: Annotated[int, Field(ge=1)] = 1
    share: Annotated[float, Field(gt=0, lt=1.5)] = 0.5
    name: Annotated[str, Field(min_length=1, pattern="^a")] = "a"
    items: Annotated[list[str], Field(max_length=1)] = Field(default_factory=list)
    flag: bool = False
    choice: Literal["a", "b"] = "a"


def error_of(**values):
    with pytest.raises(ValidationError) as caught:
        Model.model_validate(values)
    [error] = caught.value.errors()
    return error


@pytest.mark.parametrize(
    ("values", "message", "expected"),
    [
        ({"count": "x"}, "not an integer", "an integer"),
        ({"count": 0}, "out of range", "a number at least 1"),
        ({"share": 0}, "out of range", "a number above 0"),
        ({"share": 2}, "out of range", "a number below 1.5"),
        ({"share": "x"}, "not a number", "a number"),
        ({"name": ""}, "too short", "at least 1 character"),
        ({"name": "b"}, "not in the right format", "text that matches ^a"),
        ({"items": ["a", "b"]}, "too long", "at most 1 item"),
        ({"items": 1}, "not a list", "an array"),
        ({"flag": "x"}, "not a boolean", "true, 1, yes, on or false, 0, no, off"),
    ],
)
def test_describe_names_what_is_wrong_and_what_is_expected(values, message, expected):
    assert describe(error_of(**values)) == InvalidValue(message, expected)


def test_describe_gives_back_what_a_validator_raised():
    error = invalid_value("unknown {value}", "one of a, b", ["a"])
    detail: Any = {"type": error.type, "ctx": error.context}

    assert describe(detail) == InvalidValue("unknown {value}", "one of a, b", ("a",))


def test_expected_text_of_a_choice_lists_the_choices():
    assert expected_text(error_of(choice="c")) == "'a' or 'b'"


def test_expected_choices_cuts_a_long_list():
    assert expected_choices(range(10)).endswith("7 and 2 more")


def test_closest_prefers_the_member_of_the_values_own_type():
    wrong_type, out_of_range = error_of(count="x"), error_of(count=0)

    assert closest([wrong_type, out_of_range]) == [out_of_range]
    assert closest([wrong_type]) == [wrong_type]


def test_locate_leaves_out_names_of_union_members():
    data = {"a": [{"b": 1}]}

    assert locate(("a", "list[B]", 0, "b"), data) == ("a", 0, "b")
