"""A model that is a path must be one on this machine; on another one nothing can be said."""

import pytest

from worker.errors import ConfigurationError
from worker.machine import GIB, MachineInfo
from worker.settings import load_settings


@pytest.mark.parametrize("start", ["/nowhere/model", "./nowhere", "../nowhere", "~/model"])
def test_model_path_that_does_not_exist_is_a_problem(start):
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"MODEL_NAME": start})
    assert f"MODEL_NAME: no such folder; got '{start}'" in str(caught.value)


def test_model_folder_without_a_model_is_a_problem(tmp_path):
    (tmp_path / "readme.txt").touch()
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"MODEL_NAME": str(tmp_path)})
    assert "this folder holds no model: it has no config.json" in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "params.json"])
def test_model_folder_with_a_model_is_right(tmp_path, name):
    (tmp_path / name).touch()
    assert load_settings({"MODEL_NAME": str(tmp_path)}).model.name == str(tmp_path)


def test_model_with_its_config_elsewhere_is_right(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    settings = load_settings({"MODEL_NAME": str(folder), "HF_CONFIG_PATH": "org/name"})
    assert settings.model.name == str(folder)


@pytest.mark.parametrize("name", ["org/name", "s3://bucket/model"])
def test_model_that_is_no_path_is_not_looked_for(name):
    assert load_settings({"MODEL_NAME": name}).model.name == name


def test_model_path_on_another_machine_is_not_looked_for():
    settings = load_settings({"MODEL_NAME": "/nowhere/model"}, machine=MachineInfo(1, 24 * GIB))
    assert settings.model.name == "/nowhere/model"
