"""The console's form for a load-balancing endpoint: the queue's, with another type."""

from __future__ import annotations

from typing import Any

from worker.settings.registry import OptionRegistry
from worker_tools.render.console import hub

MODE = "WORKER_MODE"


def hub_load_balancer(registry: OptionRegistry) -> dict[str, Any]:
    """Return `hub.json` of the load-balancing variant; the platform takes one file per listing."""
    listing = hub(registry)
    config = listing["config"]
    entries = [{"key": MODE, "value": "load-balancer"}, *config["env"]]
    return {
        **listing,
        "title": f"{listing['title']} (load balancer)",
        "config": {**config, "endpointType": "LB", "env": entries},
    }
