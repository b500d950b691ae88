"""What the GPUs of a machine can share: sizes, and the model's heads."""

import pytest

from worker.errors import ConfigurationError
from worker.machine import GIB, MachineInfo
from worker.profile import PROFILES
from worker.settings import load_settings
from worker.settings.parallel import check_parallel, shares_evenly
from worker.settings.registry import load_registry
from worker.settings.sources import Inputs

PHI = {"MODEL_NAME": "microsoft/phi-4"}
"""10 key-value heads."""


def find_problems(environ, gpus):
    """Check as on a machine with these GPUs; elsewhere, a size that nobody chose is let pass."""
    hardware = MachineInfo(gpus, 64 * GIB)
    settings = load_settings(environ, machine=hardware)
    inputs = Inputs(environ, load_registry(), hardware, profile=settings.profile)
    found = check_parallel(settings.values, inputs)
    return [str(problem) for problem in found]


@pytest.mark.parametrize(
    ("heads", "gpus", "fits"),
    [
        *((8, 1, True), (8, 2, True), (8, 8, True), (8, 16, True), (10, 5, True), (1, 7, True)),
        *((8, 3, False), (10, 4, False), (3, 2, False), (4, 6, False)),
    ],
)
def test_heads_are_whole_on_each_gpu(heads, gpus, fits):
    assert shares_evenly(heads, gpus) == fits


def test_all_gpus_by_default_are_refused_where_the_heads_do_not_allow_it():
    [problem] = find_problems(PHI, 4)
    assert "TENSOR_PARALLEL_SIZE: 4 GPUs cannot share each layer: the model has 10" in problem
    assert "expected TENSOR_PARALLEL_SIZE=2, with PIPELINE_PARALLEL_SIZE=2" in problem


@pytest.mark.parametrize(
    ("environ", "gpus"),
    [
        pytest.param(PHI, 2, id="even"),
        pytest.param(
            {**PHI, "TENSOR_PARALLEL_SIZE": "2", "PIPELINE_PARALLEL_SIZE": "2"}, 4, id="2x2"
        ),
        pytest.param(
            {**PHI, "TENSOR_PARALLEL_SIZE": "1", "DATA_PARALLEL_SIZE": "4"}, 4, id="copies"
        ),
        pytest.param({"MODEL_NAME": "org/unknown"}, 3, id="nothing is known"),
        pytest.param({"PROFILE": "deepseek-r1-0528"}, 8, id="latent attention has no heads"),
        pytest.param({"PROFILE": "qwen3-embedding-0.6b"}, 1, id="one GPU"),
    ],
)
def test_sizes_that_work_are_accepted(environ, gpus):
    assert find_problems(environ, gpus) == []


def test_chosen_size_is_checked_wherever_the_configuration_is_read():
    environ = {**PHI, "TENSOR_PARALLEL_SIZE": "4"}
    with pytest.raises(ConfigurationError, match="10 key-value heads"):
        load_settings(environ, machine=MachineInfo(4, 64 * GIB))


@pytest.mark.parametrize(
    ("environ", "needed"),
    [
        ({"PREFILL_CONTEXT_PARALLEL_SIZE": "2"}, 4),
        ({"DATA_PARALLEL_SIZE": "4", "TENSOR_PARALLEL_SIZE": "1"}, 4),
        ({"PIPELINE_PARALLEL_SIZE": "2", "TENSOR_PARALLEL_SIZE": "2"}, 4),
        ({"DATA_PARALLEL_SIZE": "4", "DATA_PARALLEL_SIZE_LOCAL": "3"}, 3),
    ],
    ids=str,
)
def test_more_gpus_than_visible_are_refused(environ, needed):
    with pytest.raises(ConfigurationError, match=f"need {needed} GPUs together"):
        load_settings({"MODEL_NAME": "org/x", **environ}, machine=MachineInfo(2, 64 * GIB))


@pytest.mark.parametrize("name", [path.stem for path in sorted(PROFILES.glob("*.yaml"))])
def test_profile_works_on_the_gpus_that_it_is_for(name):
    profile = load_settings({"PROFILE": name}, machine=MachineInfo(1, 64 * GIB)).profile
    assert find_problems({"PROFILE": name}, profile.about.hardware.gpus) == []
