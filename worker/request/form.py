"""What a request demands of the form of its output, and what else leaves it fewer tokens.

vLLM cannot continue where the form and the other parameters have no token in common, and then says
only that it failed. It is not known before: it depends on the tokenizer and on what is generated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from worker.request.codes import Code, fail

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


def check_forms(body: Mapping[str, Any], max_bytes: int) -> None:
    """Refuse a form that vLLM would compile for long, while other structured requests wait.

    Args:
        body: Of any route that generates text.
        max_bytes: Largest size of all forms of the body together, as JSON.

    Raises:
        RequestError: The forms are larger.
    """
    sizes = {name: len(orjson.dumps(form)) for name, form in _compiled(body)}
    total = sum(sizes.values())
    if total > max_bytes:
        name = max(sizes, key=lambda each: sizes[each])
        raise fail(
            Code.GRAMMAR_TOO_LARGE,
            f"{name}: the form of the output has {total} bytes as JSON; at most {max_bytes} are "
            "compiled. Shorten it, or raise MAX_GRAMMAR_BYTES on the endpoint.",
            name,
        )


def _compiled(body: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield what of a body vLLM makes a grammar of, with its name."""
    for name, member in (
        ("structured_outputs", None),
        ("response_format", None),
        ("text", "format"),
        ("output_config", "format"),
    ):
        form = body.get(name)
        if member is not None:
            form = form.get(member) if isinstance(form, dict) else None
        if isinstance(form, dict) and form.get("type") != FREE_FORMAT:
            yield (name if member is None else f"{name}.{member}"), form
    tools = body.get("tools")
    if isinstance(tools, list):
        yield "tools", _compiled_tools(tools, body.get("tool_choice"))


def _compiled_tools(tools: list[Any], choice: object) -> list[object]:
    """Return the schemas of the tools that vLLM holds the output to.

    These are strict tools, and where a call is demanded, the one that is named or else all of them.
    """
    demanded = _demands_form("tool_choice", choice)
    named = _tool_of(choice).get("name") if isinstance(choice, dict) else None
    schemas: list[object] = []
    for tool in tools:
        if not isinstance(tool, dict):
            continue
        inner = _tool_of(tool)
        wanted = demanded and (named is None or inner.get("name") == named)
        if wanted or (inner.get("strict") and choice != "none"):
            schemas.append(inner.get("parameters") or inner.get("input_schema"))
    return schemas


def _tool_of(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what describes a tool: its `function` in a chat body, elsewhere itself."""
    function = tool.get("function")
    return function if isinstance(function, dict) else tool


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
