"""From annotations to JSON Schema."""

import enum
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from worker_tools.capture.json_schema import (
    annotation_schema,
    apply_bounds,
    clean_text,
    json_default,
)


class Level(enum.Enum):
    LOW = 0
    HIGH = "class.path"


@dataclass
class Inner:
    size: int = 1
    anything: Any = None


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (int, {"type": "integer"}),
        (bool, {"type": "boolean"}),
        (Literal["a", "b"], {"enum": ["a", "b"]}),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (list[str], {"type": "array", "items": {"type": "string"}}),
        (set[int], {"type": "array", "items": {"type": "integer"}}),
        (dict[str, Any], {"type": "object"}),
        (Level, {"enum": ["LOW", "HIGH", 0]}),
        (int | Any, {}),
        (complex, {}),
        (
            tuple[int, str],
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "minItems": 2,
                "maxItems": 2,
            },
        ),
        (Inner, {"type": "object", "properties": {"size": {"type": "integer"}, "anything": {}}}),
    ],
    ids=str,
)
def test_annotation_schema_is_json_schema(annotation, schema):
    assert annotation_schema(annotation) == schema


def test_bounded_reaches_the_numeric_branches():
    from pydantic import TypeAdapter

    metadata = Field(ge=1, lt=9).metadata
    schema = apply_bounds(annotation_schema(int | None), metadata)

    assert schema["anyOf"][0] == {"type": "integer", "minimum": 1, "exclusiveMaximum": 9}
    assert TypeAdapter(Annotated[int, Field(ge=1, lt=9)]).json_schema() == schema["anyOf"][0]


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Use 90%% of it.", "Use 90% of it."),
        ("See [`x`][vllm.x] and [y][].", "See `x` and `y`."),
        ("One.\n\nAPI docs: https://example.com", "One."),
        ("One.\n\nParse human-readable integers like 1k.\n\n- more", "One."),
    ],
)
def test_clean_text_removes_markup_and_line_breaks(text, clean):
    assert clean_text(text) == clean


@pytest.mark.parametrize(
    ("default", "plain"), [(Level.LOW, 0), ({2, 1}, [1, 2]), ((1,), [1]), ({}, {}), (None, None)]
)
def test_json_default_is_plain_json(default, plain):
    assert json_default(default) == plain
