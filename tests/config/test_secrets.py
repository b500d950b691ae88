"""Secrets are known, hidden, and never part of what is shown."""

import pytest

from worker.config import load_settings
from worker.config.hardware import GIB, Hardware
from worker.config.secrets import HIDDEN, redact

SECRET = 'hf_se"cret'


@pytest.fixture
def settings():
    environ = {"HF_TOKEN": SECRET, "RUNPOD_AI_API_KEY": "rpa_secret", "SHORT_TOKEN": "abc"}
    return load_settings(environ, hardware=Hardware(1, GIB))


def test_secret_values_are_those_of_settings_and_credentials(settings):
    assert settings.secret_values() == {SECRET, "rpa_secret"}


def test_token_travels_in_the_environment_only(settings):
    assert settings.engine_environment()["HF_TOKEN"] == SECRET
    assert SECRET not in settings.engine_arguments()


def test_secrets_are_not_in_the_representation(settings):
    assert "secret" not in repr(settings)
    assert SECRET not in repr(settings)


def test_redact_hides_secrets_also_inside_json(settings):
    assert settings.redact(f"token {SECRET}") == f"token {HIDDEN}"
    assert redact('{"a": "hf_se\\"cret"}', {SECRET}) == f'{{"a": "{HIDDEN}"}}'


@pytest.mark.parametrize("name", ["HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
def test_cache_placed_by_the_user_is_left_alone(name):
    environ = {"BASE_PATH": "/models", name: "/mine"}
    environment = load_settings(environ, hardware=Hardware(1, GIB)).engine_environment()

    assert not {"HF_HOME", "HF_HUB_CACHE"} & set(environment)
