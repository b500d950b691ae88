"""The parameter forms, as the request schemas have them."""

import json

import pytest

from worker_tools.dev.web.request_fields import KINDS, SET_BY_THE_PAGE, build_forms, schema_folder


@pytest.mark.parametrize("kind", KINDS)
def test_each_parameter_of_the_schema_has_a_field(kind):
    schema = json.loads((schema_folder() / f"{KINDS[kind]}.json").read_text())
    if kind == "embeddings":
        schema = schema["$defs"]["EmbeddingCompletionRequest"]
    names = {tuple(field["path"]) for field in build_forms()[kind]}
    wanted: set[tuple[str, ...]] = {
        (name,) for name in schema["properties"] if name not in SET_BY_THE_PAGE
    }
    if kind == "native":
        members = schema["$defs"]["SamplingParameters"]["properties"]
        wanted |= {("sampling_params", name) for name in members}
    assert names == wanted


def test_temperature_has_bounds_and_text_in_each_form():
    for kind in ("chat", "completion", "native"):
        field = next(f for f in build_forms()[kind] if f["name"] == "temperature")
        assert (field["kind"], field["min"], field["max"]) == ("number", 0, 2)
        assert "Randomness" in field["description"]
        assert field["common"] is True


def test_kinds_follow_the_types():
    kinds = {field["name"]: field["kind"] for field in build_forms()["chat"]}
    assert kinds["stop"] == "text-or-json"
    assert kinds["ignore_eos"] == "boolean"
    assert kinds["logit_bias"] == "json"
    assert kinds["reasoning_effort"] == "choice"
    assert kinds["n"] == "integer"
