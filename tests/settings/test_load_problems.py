"""The text of every kind of configuration problem."""

from pathlib import Path

import pytest
import yaml

from worker.errors import ConfigurationError
from worker.machine import GIB, MachineInfo
from worker.settings import load_settings

MISTAKES = yaml.safe_load((Path(__file__).parent / "mistakes.yaml").read_text())


def text_of(environ, tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ, machine=MachineInfo(2, 24 * GIB), profiles=tmp_path)
    return str(caught.value)


@pytest.mark.parametrize("name", MISTAKES)
def test_text_of_a_configuration_problem(name, snapshot, tmp_path):
    assert text_of(MISTAKES[name], tmp_path) == snapshot


@pytest.mark.parametrize("name", MISTAKES)
def test_problem_says_where_what_and_what_to_do_next(name, tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        load_settings(MISTAKES[name], machine=MachineInfo(2, 24 * GIB), profiles=tmp_path)

    for problem in caught.value.problems:
        assert problem.where in MISTAKES[name]
        assert problem.message
        assert not problem.message.endswith(".")
        assert problem.expected or problem.suggestions
        assert problem.anchor
        assert "hf_secretsecret" not in str(problem)
