"""Reading profiles: names, inheritance, and everything that can be wrong with a file."""

from pathlib import Path

import pytest

from worker.profile import BrokenProfileError, builtin_folder, load_profile, names
from worker.profile.loader import FAMILIES, load_all

BASE = """
about:
  title: Base
  hardware: {gpus: 2, memory_gib: 80}
  facts:
    - source: the card
      context: 1000
      licence: MIT
  notes: [only of the base]
max_model_len: 1000
reasoning_parser: qwen3
"""
CHILD = """
extends: base
about:
  title: Child
  hardware: {memory_gib: 40}
  facts:
    - source: another card
      context: 2000
model_name: org/child
reasoning_parser: null
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "child.yaml").write_text(CHILD)
    return tmp_path


def load(folder, name, text=None):
    path = folder / f"{name}.yaml"
    if text is not None:
        path.write_text(text)
    return load_profile(path, folder)


def test_load_profile_inherits_settings_value_by_value(folder):
    profile = load(folder, "child")

    assert profile.settings == {
        "max_model_len": 1000,
        "reasoning_parser": None,
        "model_name": "org/child",
    }
    assert profile.origins["max_model_len"] == "base"
    assert profile.origins["reasoning_parser"] == "child"


def test_load_profile_inherits_hardware_and_facts_but_no_title_or_notes(folder):
    about = load(folder, "child").about

    assert (about.title, about.notes) == ("Child", ())
    assert (about.hardware.gpus, about.hardware.memory_gib) == (2, 40)
    assert (about.fact("context").value, about.fact("context").source) == (2000, "another card")
    assert about.fact("licence").value == "MIT"
    assert about.fact("gated") is None


def test_load_profile_from_elsewhere_extends_a_built_in_one(folder, tmp_path_factory):
    mine = tmp_path_factory.mktemp("volume") / "mine.yaml"
    mine.write_text("extends: base\nmax_num_seqs: 8\n")

    profile = load_profile(mine, folder)

    assert (profile.name, profile.settings["max_model_len"]) == ("mine", 1000)


BROKEN = {
    "syntax": ("max_num_seqs: [1", "not valid YAML in line "),
    "list": ("- max_num_seqs", "not a mapping"),
    "about-list": ("about: [1]", "about is not a mapping"),
    "unknown-fact": ("about: {facts: [{source: x, layer: 3}]}", "about.facts.0.layer: extra"),
    "no-source": ("about: {facts: [{context: 3}]}", "about.facts.0.source: field required"),
    "kind": (
        "about: {facts: [{source: x, attention: [{kind: linear, layers: 1}]}]}",
        "about.facts.0.attention.0: input tag",
    ),
    "pool": ("about: {hardware: {pools: [H100]}}", "about.hardware.pools.0: input should be"),
    "base": ("extends: nonesuch", "extends: no such profile: nonesuch"),
    "circle": ("extends: case", "extends itself, or a chain of more than four others"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_load_profile_of_a_broken_file_names_file_and_mistake(folder, name):
    text, message = BROKEN[name]

    with pytest.raises(BrokenProfileError) as caught:
        load(folder, "case", text)

    assert caught.value.message.startswith(message)
    assert caught.value.path == folder / "case.yaml"


def test_load_profile_names_the_file_at_fault(folder):
    (folder / "base.yaml").write_text("about: {colour: red}")

    with pytest.raises(BrokenProfileError) as caught:
        load(folder, "child")

    assert caught.value.path == folder / "base.yaml"


def test_load_profile_without_file_is_an_error_of_its_own(folder):
    with pytest.raises(FileNotFoundError):
        load(folder, "nonesuch")


def test_names_are_sorted_and_leave_families_out():
    found = names(builtin_folder())

    assert found == sorted(found)
    assert len(found) >= 30
    assert not [name for name in found if name.startswith(FAMILIES)]


def test_load_all_reads_every_built_in_profile():
    assert [profile.name for profile in load_all(builtin_folder())] == names(builtin_folder())


def test_checkout_uses_the_folder_at_its_top():
    assert builtin_folder() == Path(__file__).parents[2] / "profiles"
