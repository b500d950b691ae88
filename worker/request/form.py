"""What a request demands of the form of its output, and what else leaves it fewer tokens.

vLLM cannot continue where the form and the other parameters have no token in common, and then says
only that it failed. It is not known before: it depends on the tokenizer and on what is generated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MASKS = (
    "allowed_token_ids",
    "bad_words",
    "min_tokens",
    "stop_token_ids",
    "thinking_token_budget",
)
"""Parameters that forbid tokens or force one."""

FREE_FORMAT = "text"
"""The format that demands nothing."""

DEMANDING_TOOL_CHOICES = ("required", "function", "any", "tool")
"""Choices of a tool, by name or by type, in OpenAI's and Anthropic's words, that demand a call."""


def find_forms(body: Mapping[str, Any]) -> list[str]:
    """Return the names in a body, of any route that generates text, that demand a form."""
    return [name for name, value in body.items() if _demands_form(name, value)]


def find_masks(body: Mapping[str, Any]) -> list[str]:
    """Return the names in a body that leave fewer tokens to choose from."""
    return [name for name in MASKS if body.get(name) not in (None, [])]


def _demands_form(name: str, value: object) -> bool:
    match name, value:
        case "structured_outputs", dict():
            return True
        case ("response_format", {"type": kind}) | ("text", {"format": {"type": kind}}):
            return bool(kind != FREE_FORMAT)
        case ("tool_choice", {"type": choice}) | ("tool_choice", choice):
            return choice in DEMANDING_TOOL_CHOICES
        case _:
            return False
