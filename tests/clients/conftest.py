"""What the clients' tests share: the endpoint that scripts/clients.py has started."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import pytest

QUESTION = "What is the capital of France? Answer in one sentence."
ANSWER = "Paris"
"""What the demo model says when it decodes greedily."""

CITY = {
    "type": "object",
    "properties": {"name": {"enum": ["Paris", "Rome"]}, "large": {"type": "boolean"}},
    "required": ["name", "large"],
    "additionalProperties": False,
}
"""A form that a small model cannot fill with endless text."""


@dataclass(frozen=True)
class Endpoint:
    """A local RunPod endpoint with the demo model.

    Attributes:
        url: Base of RunPod's own operations.
        model: Name of the served model.
    """

    url: str
    model: str

    @property
    def openai_url(self) -> str:
        """Base of the OpenAI-compatible routes."""
        return f"{self.url}/openai/v1"


@pytest.fixture(scope="session")
def endpoint() -> Endpoint:
    try:
        return Endpoint(os.environ["CLIENTS_ENDPOINT"], os.environ["CLIENTS_MODEL"])
    except KeyError:
        pytest.exit("Run these tests with `make test-clients`; it starts the endpoint.", 2)


def read_city(text: str) -> dict[str, Any]:
    """Return the object of a `CITY` answer, checked."""
    city = json.loads(text)
    assert city.keys() == {"name", "large"}
    assert city["name"] in ("Paris", "Rome")
    assert isinstance(city["large"], bool)
    return city
