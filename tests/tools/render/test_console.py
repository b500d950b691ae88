"""The load-balancing variant of the console's form."""

import json
from pathlib import Path

import jsonschema

from worker.settings.registry import load_registry
from worker_tools.render.console import MODE, hub, hub_load_balancer

ROOT = Path(__file__).parents[3]
REGISTRY = load_registry()


def test_variant_is_the_queues_form_with_another_type():
    queue, balanced = hub(REGISTRY), hub_load_balancer(REGISTRY)
    assert balanced["config"].pop("endpointType") == "LB"
    assert balanced["config"]["env"].pop(0) == {"key": MODE, "value": "load-balancer"}
    assert balanced["config"] == queue["config"]
    assert "endpointType" not in queue["config"]


def test_variant_is_valid():
    schema = json.loads((ROOT / "schemas" / "hub.schema.json").read_text())
    jsonschema.validate(hub_load_balancer(REGISTRY), schema)


def test_mode_is_a_setting_that_exists():
    choices = REGISTRY.by_variable[MODE].schema["enum"]
    assert "load-balancer" in choices
