"""Which profile belongs to a model."""

import pytest

from worker.profile import (
    BrokenProfileError,
    all_ids,
    builtin_folder,
    find_by_model,
    find_variant,
    load_all,
)

FOLDER = builtin_folder()


@pytest.mark.parametrize(
    ("model", "profile"),
    [
        ("Qwen/Qwen3-8B", "qwen3-8b"),
        ("qwen/qwen3-8b", "qwen3-8b"),
        ("Qwen/Qwen3-8B-FP8", "qwen3-8b"),
        ("Qwen/Qwen3-32B-AWQ", "qwen3-32b-awq"),
        ("Qwen/Qwen3-30B-A3B", "qwen3-30b-a3b"),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("SmolLM2-135M-Instruct", "smollm2-135m"),
        ("Qwen/Qwen3-8B-Base", None),
        ("facebook/opt-125m", None),
    ],
)
def test_find_by_model_finds(model, profile):
    found = find_by_model(model, FOLDER)

    assert (found and found.name) == profile


def test_find_by_model_prefers_an_exact_id_to_a_pattern(tmp_path):
    (tmp_path / "any.yaml").write_text("about: {matches: ['org/*']}\nmodel_name: org/a")
    (tmp_path / "one.yaml").write_text("model_name: org/one")

    assert find_by_model("org/one", tmp_path).name == "one"
    assert find_by_model("ORG/two", tmp_path).name == "any"


def test_find_by_model_does_not_load_a_profile_of_another_model(tmp_path):
    (tmp_path / "one.yaml").write_text("model_name: org/one")
    (tmp_path / "two.yaml").write_text("about: [org/two]")

    assert find_by_model("org/one", tmp_path).name == "one"
    with pytest.raises(BrokenProfileError):
        find_by_model("org/two", tmp_path)


def test_find_variant_knows_the_precision():
    profile = find_by_model("nvidia/Qwen3.6-27B-NVFP4", FOLDER)

    assert find_variant(profile, "nvidia/qwen3.6-27b-nvfp4").precision == "nvfp4"
    assert find_variant(profile, profile.model) is None


def test_no_model_belongs_to_two_profiles():
    owners = {}
    for model, profile in all_ids(load_all(FOLDER)):
        owners.setdefault(model.lower(), set()).add(profile.name)

    assert {model: found for model, found in owners.items() if len(found) > 1} == {}
