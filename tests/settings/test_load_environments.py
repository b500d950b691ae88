"""Realistic environments and the engine arguments that follow from them."""

from pathlib import Path

import pytest
import yaml

from worker.machine import GIB, MachineInfo
from worker.redaction import REDACTED
from worker.settings import load_settings
from worker.settings.deprecated import REMOVED, RENAMED
from worker.settings.registry import load_registry

FOLDER = Path(__file__).parent
ENVIRONMENTS = yaml.safe_load((FOLDER / "environments.yaml").read_text())
ORIGINAL = yaml.safe_load((FOLDER / "original.yaml").read_text())


def load(case):
    return load_settings(case["env"], machine=MachineInfo(case.get("gpus", 1), 24 * GIB))


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_engine_arguments_of_a_realistic_environment(name, snapshot):
    settings = load(ENVIRONMENTS[name])

    shown = {
        "arguments": settings.engine_arguments(),
        "environment": {
            key: "hidden" if settings.redact(value) == REDACTED else value
            for key, value in settings.engine_environment().items()
        },
        "warnings": [str(warning) for warning in settings.warnings],
    }
    assert shown == snapshot


def test_environments_are_at_least_sixty():
    assert len(ENVIRONMENTS) >= 60


@pytest.mark.parametrize("name", [*ORIGINAL["settings"], *ORIGINAL["libraries"]])
def test_variable_of_the_original_occurs_in_an_environment(name):
    assert any(name in case["env"] for case in ENVIRONMENTS.values())


@pytest.mark.parametrize("name", ORIGINAL["settings"])
def test_variable_of_the_original_is_supported_renamed_or_removed(name):
    places = [name in load_registry().by_variable, name in RENAMED, name in REMOVED]

    assert places.count(True) == 1


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_no_secret_reaches_the_arguments(name):
    settings = load(ENVIRONMENTS[name])

    text = " ".join(settings.engine_arguments())
    assert settings.redact(text) == text


def test_streaming_names_of_documentation_and_code_both_work():
    documented = load(ENVIRONMENTS["streaming-documented-names"]).streaming
    read = load(ENVIRONMENTS["streaming-read-names"]).streaming

    assert (documented.min_batch_size, documented.max_batch_size) == (2, 100)
    assert documented.batch_size_growth_factor == 1.5
    assert (read.min_batch_size, read.batch_size_growth_factor) == (2, 2.0)


def test_base_path_places_the_model_cache():
    environment = load(ENVIRONMENTS["image-of-the-original"]).engine_environment()

    assert environment["HF_HOME"] == "/models/huggingface-cache"
    assert environment["HF_HUB_CACHE"] == "/models/huggingface-cache/hub"


def test_cache_chosen_by_the_user_is_left_alone():
    assert "HF_HOME" not in load(ENVIRONMENTS["libraries-own-variables"]).engine_environment()
