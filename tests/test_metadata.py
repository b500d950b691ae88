"""One class of metadata for settings and request parameters."""

from typing import Annotated

from pydantic import BaseModel, Field

from worker.metadata import ALIASES, INPUT_MODES, UNIT, Meta, find_meta


class Model(BaseModel):
    tokens: Annotated[
        int, Meta(aliases=("max",), unit="tokens", input_modes=("prompt",)), Field(ge=1)
    ] = 1
    plain: int = 0


def test_find_meta_returns_what_is_declared():
    meta = find_meta(Model.model_fields["tokens"])

    assert (meta.aliases, meta.unit, meta.input_modes) == (("max",), "tokens", ("prompt",))


def test_find_meta_of_a_field_without_is_empty():
    assert find_meta(Model.model_fields["plain"]).aliases == ()


def test_json_schema_has_more_than_bounds_and_default():
    words = Model.model_json_schema()["properties"]["tokens"]

    assert words[UNIT] == "tokens"
    assert words[ALIASES] == ["max"]
    assert words[INPUT_MODES] == ["prompt"]
    assert (words["minimum"], words["default"]) == (1, 1)
