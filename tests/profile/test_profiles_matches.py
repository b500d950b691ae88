"""Every repository id that selects a profile: its weights are those of its own precision."""

import pytest

from worker.machine import GIB, MachineInfo
from worker.profile import all_ids, builtin_folder, load_all
from worker.profile.memory import PARAMETER_BYTES
from worker.settings import load_settings
from worker.sizing.requirement import memory_requirement

FOLDER = builtin_folder()
IDS = [(model, profile) for model, profile in all_ids(load_all(FOLDER))]

MARKS = {
    "nvfp4": "nvfp4",
    "mxfp4": "mxfp4",
    "fp8": "fp8",
    "w8a8": "int8",
    "int8": "int8",
    "awq": "int4",
    "gptq": "int4",
    "int4": "int4",
    "w4a16": "int4",
    "bf16": "bf16",
}
"""Parts of repository ids that name a precision."""


def mark_of(model):
    return next((MARKS[mark] for mark in MARKS if mark in model.lower()), None)


def requirement_of(model):
    settings = load_settings({"MODEL_NAME": model}, machine=MachineInfo(8, 64 * GIB))
    return memory_requirement(settings.values, settings.profile, FOLDER)


@pytest.mark.parametrize(("model", "profile"), IDS, ids=lambda item: getattr(item, "name", item))
def test_fit_of_a_match_has_weights_of_the_precision_in_its_name(model, profile):
    found = requirement_of(model)
    named, own = mark_of(model), mark_of(profile.model)

    if named is None and own is not None:
        named = "bf16"  # the repository that a quantised one is made from
    expected = named or profile.about.precision
    assert found.precision == expected
    parameters = profile.about.fact("parameters").value
    share = found.model.weight_bytes / parameters / PARAMETER_BYTES[expected]
    # Embeddings and attention may keep two bytes, which counts most in the smallest models.
    assert 0.85 <= share <= 1.6
