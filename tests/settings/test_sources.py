"""Profiles as a source of settings: by name, by path, by model; and when there is none."""

import pytest

from worker.errors import ConfigurationError
from worker.machine import GIB, MachineInfo
from worker.settings import load_settings

GPU = MachineInfo(1, 24 * GIB)


def load(environ, **options):
    return load_settings(environ, machine=GPU, **options)


def source_of(settings, name):
    found = [item for item in settings.values if item.option.name == name]
    return (found[0].value, found[0].origin) if found else None


def problem_of(environ):
    with pytest.raises(ConfigurationError) as caught:
        load(environ)
    [problem] = caught.value.problems
    return problem


def test_profile_alone_is_a_complete_configuration():
    settings = load({"PROFILE": "qwen3-8b"})

    assert settings.model.name == settings.model.served_name == "Qwen/Qwen3-8B"
    assert source_of(settings, "TOOL_CALL_PARSER") == ("hermes", "profile qwen3-8b")
    assert settings.profile.name == "qwen3-8b"


def test_profile_by_path_extends_a_built_in_one(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: qwen3-8b\nmax_num_seqs: 4\n")

    settings = load({"PROFILE": str(path)})

    assert settings.model.name == "Qwen/Qwen3-8B"
    assert source_of(settings, "MAX_NUM_SEQS") == (4, "profile mine")


def test_environment_wins_over_profile_value_by_value():
    settings = load({"PROFILE": "qwen3-8b", "TOOL_CALL_PARSER": "qwen3_xml"})

    assert source_of(settings, "TOOL_CALL_PARSER") == ("qwen3_xml", "environment")
    assert source_of(settings, "REASONING_PARSER") == ("qwen3", "profile qwen3-8b")


@pytest.mark.parametrize(
    "model", ["Qwen/Qwen3-8B", "qwen/qwen3-8b", "/cache/models--Qwen--Qwen3-8B/snapshots/a"]
)
def test_model_chooses_its_profile_and_says_so(model):
    settings = load({"MODEL_NAME": model})

    assert settings.model.name == model
    assert source_of(settings, "PROFILE") == ("qwen3-8b", "from MODEL_NAME")
    assert source_of(settings, "REASONING_PARSER") == ("qwen3", "profile qwen3-8b (by MODEL_NAME)")
    assert settings.sources.profile == "qwen3-8b"


def test_model_of_the_configuration_file_chooses_its_profile(tmp_path):
    path = tmp_path / "worker.yaml"
    path.write_text("model_name: openai/gpt-oss-20b")

    settings = load({"WORKER_CONFIG": str(path)})

    assert source_of(settings, "PROFILE") == ("gpt-oss-20b", "from file worker.yaml:model_name")


@pytest.mark.parametrize(
    "environ",
    [
        {"MODEL_NAME": "Qwen/Qwen3-8B", "AUTO_PROFILE": "false"},
        {"MODEL_NAME": "org/unknown"},
        {},
    ],
    ids=["switched-off", "unknown-model", "nothing"],
)
def test_settings_without_a_matching_profile_have_none(environ):
    settings = load(environ)

    assert settings.profile is None
    assert source_of(settings, "PROFILE") == (None, "default")
    assert source_of(settings, "TOOL_CALL_PARSER") is None


def test_named_profile_is_used_although_the_model_has_another():
    settings = load({"PROFILE": "gpt-oss-20b", "MODEL_NAME": "Qwen/Qwen3-8B"})

    assert settings.model.name == "Qwen/Qwen3-8B"
    assert source_of(settings, "TOOL_CALL_PARSER") == ("openai", "profile gpt-oss-20b")


def test_unknown_profile_is_an_error_with_the_nearest_names():
    problem = problem_of({"PROFILE": "Qwen-3-8b"})

    assert (problem.where, problem.message) == ("PROFILE", "no such profile")
    assert problem.suggestions[0] == "qwen3-8b"


def test_broken_profile_names_its_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("about: {titel: x}")

    problem = problem_of({"PROFILE": str(path)})

    assert problem.message.startswith("about.titel: extra inputs")
    assert problem.got == str(path)


def test_profile_is_checked_option_by_option(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("max_model_length: 8192")

    problem = problem_of({"PROFILE": str(path)})

    assert problem.where == "profile mine:max_model_length"
    assert "max_model_len" in problem.suggestions


def test_broken_built_in_profile_stops_no_start_that_did_not_ask(tmp_path):
    (tmp_path / "broken.yaml").write_text("about: [1]")

    settings = load({"MODEL_NAME": "Qwen/Qwen3-8B"}, profiles=tmp_path)

    assert settings.profile is None


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"PROFILE": "qwen3-8b"}, "profile qwen3-8b"),
        (
            {"MODEL_NAME": "Qwen/Qwen3-8B"},
            "profile qwen3-8b, from MODEL_NAME; AUTO_PROFILE=false turns it off",
        ),
        ({}, ""),
    ],
    ids=["named", "chosen", "none"],
)
def test_start_logs_the_profile(environ, text):
    assert load(environ).profile_text() == text
