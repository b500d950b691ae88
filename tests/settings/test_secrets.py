"""Secrets are known, hidden, and never part of what is shown."""

import pytest

from worker.errors import ConfigurationError
from worker.machine import GIB, MachineInfo
from worker.redaction import REDACTED
from worker.settings import load_settings

SECRET = "hf_se+cret/"


@pytest.fixture
def settings():
    environ = {"HF_TOKEN": SECRET, "RUNPOD_AI_API_KEY": "rpa_secret", "SHORT_TOKEN": "abc"}
    environ["HTTPS_PROXY"] = "http://user:proxy-password@proxy:3128"
    environ["OTHER_URL"] = "http://[broken@"
    return load_settings(environ, machine=MachineInfo(1, GIB))


@pytest.mark.parametrize("secret", [SECRET, "rpa_secret", "proxy-password"])
def test_settings_redact_their_own_secrets_credentials_and_passwords_in_urls(settings, secret):
    assert settings.redact(f"a {secret} b") == f"a {REDACTED} b"


def test_settings_redact_nothing_else(settings):
    text = "abc http://user:@proxy 3128 MODEL_NAME"
    assert settings.redact(text) == text


def test_token_travels_in_the_environment_only(settings):
    assert settings.engine_environment()["HF_TOKEN"] == SECRET
    assert SECRET not in settings.engine_arguments()


def test_secrets_are_not_in_the_representation(settings):
    assert "secret" not in repr(settings)
    assert SECRET not in repr(settings)


@pytest.mark.parametrize("name", ["HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
def test_cache_placed_by_the_user_is_left_alone(name):
    environ = {"BASE_PATH": "/models", name: "/mine"}
    environment = load_settings(environ, machine=MachineInfo(1, GIB)).engine_environment()

    assert not {"HF_HOME", "HF_HUB_CACHE"} & set(environment)


REFERENCE = "{{ RUNPOD_SECRET_my-token }}"


@pytest.mark.parametrize("name", ["HF_TOKEN", "WORKER_API_KEY", "AWS_SECRET_ACCESS_KEY"])
@pytest.mark.parametrize("value", [REFERENCE, "{{RUNPOD_SECRET_my-token}}", f"x {REFERENCE}"])
def test_reference_that_runpod_has_not_replaced_is_a_problem(name, value):
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"MODEL_NAME": "org/name", name: value})

    assert "RUNPOD_SECRET" not in str(caught.value)
    assert "the secret my-token" in str(caught.value)


def test_reference_is_accepted_before_a_deployment():
    settings = load_settings({"HF_TOKEN": REFERENCE}, machine=MachineInfo(1, GIB))

    assert settings.model.hf_token is not None
