"""The public name of a model is never a path."""

import pytest

from worker.models.name import served_model_name


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("gpt2", "gpt2"),
        ("/models/qwen", "qwen"),
        ("/models/qwen/", "qwen"),
        ("./qwen", "qwen"),
        ("~/models/qwen", "qwen"),
        ("models/llama/8b", "8b"),
        ("s3://bucket/llama-8b", "llama-8b"),
        ("/cache/hub/models--Qwen--Qwen3-8B/snapshots/abc", "Qwen/Qwen3-8B"),
    ],
)
def test_served_model_name_of_a_path_or_id_is_short(model, name):
    assert served_model_name(model) == name


def test_served_model_name_of_an_existing_folder_is_the_folders(tmp_path, monkeypatch):
    (tmp_path / "org" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    assert served_model_name("org/model") == "model"


def test_served_model_name_of_text_too_long_for_a_path_is_the_text():
    assert served_model_name("x" * 5000) == "x" * 5000
