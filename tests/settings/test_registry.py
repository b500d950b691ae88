"""The list of all settings: complete, described, free of collisions."""

import pytest

from worker.settings.deprecated import REMOVED, RENAMED, RETIRED
from worker.settings.registry import load_registry
from worker.vllm_options.overrides import OVERRIDES, RESERVED
from worker.vllm_options.schema import read_schema

REGISTRY = load_registry()
OWN = [option for option in REGISTRY.options if option.field is not None]


def test_every_option_of_vllm_is_settable_or_reserved_with_a_reason():
    keys = set(read_schema().options)

    assert set(REGISTRY.by_vllm_name) == keys
    settable = {option.vllm_name for option in REGISTRY.settable()}
    assert keys - settable == set(RESERVED)


def test_no_two_settings_share_a_name():
    names = [name for o in REGISTRY.settable() for name in (o.name, *o.aliases)]

    assert len(names) == len(set(names))
    assert not set(names) & {*REMOVED, *RENAMED}


@pytest.mark.parametrize(
    "table", [OVERRIDES, RESERVED, RETIRED], ids=["overrides", "reserved", "retired"]
)
def test_data_names_only_options_of_the_pinned_vllm(table):
    assert set(table) <= set(REGISTRY.by_vllm_name)


def test_renamed_variables_lead_to_options():
    assert {item.target for item in RENAMED.values()} <= set(REGISTRY.by_vllm_name)


@pytest.mark.parametrize("option", REGISTRY.options, ids=lambda option: option.name)
def test_option_is_described(option):
    assert option.description
    assert option.summary


@pytest.mark.parametrize("option", OWN, ids=lambda option: option.name)
def test_own_setting_is_declared_completely(option):
    is_number = option.kind in ("integer", "number")

    assert len(option.summary) <= 100
    assert option.summary.endswith(".")
    assert "efault" not in option.description
    assert not is_number or option.unit
    bounds = {"minimum", "exclusiveMinimum"} & set(option.schema)
    assert not is_number or (bounds and "maximum" in option.schema)
