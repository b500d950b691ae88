"""SPECULATION: the profile's preset becomes vLLM's speculative configuration."""

import json

import pytest

from worker.errors import ConfigurationError
from worker.machine import GIB, MachineInfo
from worker.profile import builtin_folder, load_all
from worker.settings import load_settings

NGRAM = {"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 4}
PRESETS = [p.name for p in load_all(builtin_folder()) if p.about.speculation is not None]
OTHERS = [p.name for p in load_all(builtin_folder()) if p.about.speculation is None]


def load(**environ):
    return load_settings(environ, machine=MachineInfo(1, 64 * GIB))


def config_of(settings):
    arguments = settings.engine_arguments()
    if "--speculative-config" not in arguments:
        return None
    return json.loads(arguments[arguments.index("--speculative-config") + 1])


def refusal(**environ):
    with pytest.raises(ConfigurationError) as caught:
        load(**environ)
    [problem] = caught.value.problems
    return problem


def test_speculation_unset_leaves_the_options_unchanged():
    assert config_of(load(PROFILE="smollm2-135m")) is None
    assert config_of(load(PROFILE="smollm2-135m", SPECULATION="off")) is None


def test_speculation_on_takes_the_preset_and_names_it():
    settings = load(MODEL_NAME="HuggingFaceTB/SmolLM2-135M-Instruct", SPECULATION="on")

    assert config_of(settings) == NGRAM
    [origin] = [v.origin for v in settings.values if v.option.name == "SPECULATIVE_CONFIG"]
    assert origin == "preset of profile smollm2-135m"


@pytest.mark.parametrize("name", PRESETS)
def test_speculation_on_is_accepted_with_every_preset(name):
    [profile] = [p for p in load_all(builtin_folder()) if p.name == name]

    assert config_of(load(PROFILE=name, SPECULATION="on")) == profile.about.speculation.config


def test_speculative_config_with_a_preset_changes_members():
    settings = load(
        PROFILE="smollm2-135m",
        SPECULATION="on",
        SPECULATIVE_CONFIG='{"num_speculative_tokens": 2}',
    )

    assert config_of(settings) == {**NGRAM, "num_speculative_tokens": 2}


def test_speculation_in_a_profile_of_ones_own_counts(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("extends: smollm2-135m\nspeculation: true\n")

    assert config_of(load(PROFILE=str(path))) == NGRAM


@pytest.mark.parametrize("name", OTHERS)
def test_speculation_without_a_preset_is_refused_with_the_reason(name):
    [profile] = [p for p in load_all(builtin_folder()) if p.name == name]
    problem = refusal(PROFILE=name, SPECULATION="on")

    reasons = {
        True: f"the profile {name} has no preset",
        False: f"the profile {name} is not for text generation",
    }
    reason = reasons[profile.about.task == "generate"]
    assert (problem.where, problem.message) == ("SPECULATION", reason)
    assert "SPECULATIVE_CONFIG" in problem.expected


def test_speculation_without_a_profile_is_refused():
    problem = refusal(MODEL_NAME="org/unknown", SPECULATION="on")

    assert problem.message == "this model has no profile and therefore no preset"


def test_speculation_with_another_draft_is_refused():
    problem = refusal(
        PROFILE="smollm2-135m",
        SPECULATION="on",
        SPECULATIVE_CONFIG='{"method": "suffix"}',
    )

    assert problem.message == "SPECULATIVE_CONFIG also chooses a draft"
