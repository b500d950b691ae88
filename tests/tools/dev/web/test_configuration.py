"""Changes of settings, and the environment as lines to copy."""

import shlex

import pytest

from worker.settings.registry import load_registry
from worker_tools.dev.web import configuration

BASE = {"PATH": "/bin", "MODEL_NAME": "Qwen/Qwen3-8B"}
AWKWARD = """it's "quoted" $HOME `x` # and\nlines"""


def lines(**environ):
    return configuration.write_lines(environ, load_registry())


def test_apply_changes_sets_and_removes():
    environ = configuration.apply_changes(
        {**BASE, "DTYPE": "half"}, {"DTYPE": None, "MAX_NUM_SEQS": "4"}
    )
    assert environ == {**BASE, "MAX_NUM_SEQS": "4"}


def test_apply_changes_replaces_an_alias():
    registry = load_registry()
    option = next(option for option in registry.settable() if option.aliases)
    environ = configuration.apply_changes({option.aliases[0]: "old"}, {option.name: "new"})
    assert environ == {option.name: "new"}


def test_lines_have_settings_only():
    found = lines(PATH="/bin", MODEL_NAME="a/b")
    assert found["env"] == "MODEL_NAME=a/b"
    assert "PATH" not in found["docker"].replace("DEFAULT_PATH", "")


@pytest.mark.parametrize(("form", "option"), [("docker", "-e"), ("deploy", "--env")])
def test_shell_reads_each_value_back(form, option):
    words = shlex.split(lines(MODEL_NAME="a/b", CUSTOM_CHAT_TEMPLATE=AWKWARD)[form])
    given = [words[place + 1] for place, word in enumerate(words) if word == option]
    assert f"CUSTOM_CHAT_TEMPLATE={AWKWARD}" in given


def test_no_line_has_a_secret():
    found = lines(MODEL_NAME="a/b", HF_TOKEN="hf_secretsecret", SERVED="x")
    assert "hf_secretsecret" not in str(found)
    assert "--secret HF_TOKEN" in found["deploy"]
    assert "-e HF_TOKEN" in found["docker"]


def test_secret_inside_another_value_is_hidden():
    found = lines(MODEL_NAME="a/hf_secretsecret", HF_TOKEN="hf_secretsecret")
    assert "hf_secretsecret" not in str(found)


def test_form_has_the_values_of_the_environment():
    fields = configuration.describe_form({**BASE, "MAX_NUM_SEQS": "7"})["fields"]
    values = {field["name"]: field["value"] for field in fields}
    assert values["MODEL_NAME"] == "Qwen/Qwen3-8B"
    assert values["MAX_NUM_SEQS"] == "7"
    assert values["DTYPE"] is None
