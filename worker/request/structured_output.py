"""Constraints of a request on its output: structured output, and parameters that forbid tokens.

If no token satisfies all of them, vLLM reports an internal error without a reason. That cannot be
checked beforehand, because it depends on the tokenizer and on the generated text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from worker.request.codes import Code, request_error

TOKEN_CONSTRAINTS = (
    "allowed_token_ids",
    "bad_words",
    "min_tokens",
    "stop_token_ids",
    "thinking_token_budget",
)
"""Parameters that forbid tokens or force one."""

UNCONSTRAINED_FORMAT = "text"
"""The format without a constraint."""

FORCED_TOOL_CHOICES = ("required", "function", "any", "tool")
"""Values of `tool_choice`, OpenAI's and Anthropic's, by name or by type, that force a tool call."""


def structured_constraints(body: Mapping[str, Any]) -> list[str]:
    """Return the parameters of a body that constrain the structure of the output."""
    return [name for name, value in body.items() if _is_constraint(name, value)]


def check_grammar_size(body: Mapping[str, Any], max_bytes: int) -> None:
    """Reject constraints so large that their compilation would block other structured requests.

    Args:
        body: Body of any route that generates text.
        max_bytes: Largest total size of all constraints of the body, as JSON.

    Raises:
        RequestError: The constraints are larger.
    """
    sizes = {name: len(orjson.dumps(constraint)) for name, constraint in _compiled(body)}
    total = sum(sizes.values())
    if total > max_bytes:
        name = max(sizes, key=lambda each: sizes[each])
        raise request_error(
            Code.GRAMMAR_TOO_LARGE,
            f"{name}: the constraints of the output have {total} bytes as JSON; at most "
            f"{max_bytes} are allowed. Shorten them, or raise MAX_GRAMMAR_BYTES on the endpoint.",
            name,
        )


def _compiled(body: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield the name and value of each constraint that vLLM compiles to a grammar."""
    for name, member in (
        ("structured_outputs", None),
        ("response_format", None),
        ("text", "format"),
        ("output_config", "format"),
    ):
        constraint = body.get(name)
        if member is not None:
            constraint = constraint.get(member) if isinstance(constraint, dict) else None
        if isinstance(constraint, dict) and constraint.get("type") != UNCONSTRAINED_FORMAT:
            yield (name if member is None else f"{name}.{member}"), constraint
    tools = body.get("tools")
    if isinstance(tools, list):
        yield "tools", _compiled_tools(tools, body.get("tool_choice"))


def _compiled_tools(tools: list[Any], choice: object) -> list[object]:
    """Return the schemas of the tools that constrain the output.

    These are strict tools and, if a call is forced, the named tool or else all tools.
    """
    forced = _is_constraint("tool_choice", choice)
    named = _tool_of(choice).get("name") if isinstance(choice, dict) else None
    schemas: list[object] = []
    for tool in tools:
        if not isinstance(tool, dict):
            continue
        inner = _tool_of(tool)
        compiled = forced and (named is None or inner.get("name") == named)
        if compiled or (inner.get("strict") and choice != "none"):
            schemas.append(inner.get("parameters") or inner.get("input_schema"))
    return schemas


def _tool_of(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the description of a tool: its `function` in a chat body, else the tool itself."""
    function = tool.get("function")
    return function if isinstance(function, dict) else tool


def token_constraints(body: Mapping[str, Any]) -> list[str]:
    """Return the parameters of a body that forbid tokens or force one."""
    return [name for name in TOKEN_CONSTRAINTS if body.get(name) not in (None, [])]


def _is_constraint(name: str, value: object) -> bool:
    match name, value:
        case "structured_outputs", dict():
            return True
        case ("response_format", {"type": kind}) | ("text", {"format": {"type": kind}}):
            return bool(kind != UNCONSTRAINED_FORMAT)
        case ("tool_choice", {"type": choice}) | ("tool_choice", choice):
            return choice in FORCED_TOOL_CHOICES
        case _:
            return False
