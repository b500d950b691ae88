"""The playground's parameter forms, generated from the request schemas."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

KINDS: Mapping[str, str] = {
    "chat": "v1-chat-completions",
    "completion": "v1-completions",
    "native": "native",
    "embeddings": "v1-embeddings",
}
"""Kind of request -> file of its schema."""

VARIANTS = {"embeddings": "EmbeddingCompletionRequest"}
"""The one of several shapes of a schema that the form offers."""

NESTED = "sampling_params"
"""The member of native input whose members the form shows next to the others."""

SET_BY_THE_PAGE = frozenset({"messages", "prompt", "input", "model", "stream", NESTED})
COMMON = (
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "response_format",
    "tools",
    "tool_choice",
    "reasoning_effort",
    "dimensions",
    "encoding_format",
)
"""What the form shows first, in this order."""

BOUNDS = {
    "minimum": "min",
    "maximum": "max",
    "exclusiveMinimum": "above",
    "exclusiveMaximum": "below",
}
MAX_BOUND = 2**53
"""A bound beyond it only says how the value is stored."""

NUMBERS = frozenset({"integer", "number"})


def schema_folder() -> Path:
    """Return the folder of the request schemas: in the package, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[2]
    packaged = package / "schemas"
    return packaged if packaged.is_dir() else package.parents[1] / "schemas" / "requests"


@functools.cache
def build_forms() -> dict[str, list[dict[str, Any]]]:
    """Return the fields of each kind of request.

    A field has `path` (of the member in the body), `kind`, `description`, `default`, the bounds
    `min`, `max`, `above`, `below`, `choices`, `unit`, and `common` for those that are shown first.
    """
    texts = {field["name"]: field for field in _fields("native", {})}
    return {kind: list(_fields(kind, texts)) for kind in KINDS}


def _fields(kind: str, texts: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    schema = json.loads((schema_folder() / f"{KINDS[kind]}.json").read_text(encoding="utf-8"))
    shape = schema["$defs"][VARIANTS[kind]] if kind in VARIANTS else schema
    found = list(_read_members(shape["properties"], schema["$defs"], ()))
    found.sort(key=lambda field: _rank(field["name"]))
    for field in found:
        # vLLM's own schemas lack most texts and bounds; a parameter means the same in each.
        known = texts.get(field["name"], {})
        for name in ("description", "unit", *BOUNDS.values()):
            if name not in field and name in known and field["kind"] == known["kind"]:
                field[name] = known[name]
        yield field


def _rank(name: str) -> int:
    return COMMON.index(name) if name in COMMON else len(COMMON)


def _read_members(
    members: Mapping[str, Any], definitions: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    if NESTED in members:
        nested = definitions[members[NESTED]["$ref"].rpartition("/")[2]]
        yield from _read_members(nested["properties"], definitions, (NESTED,))
    for name, member in members.items():
        if name not in SET_BY_THE_PAGE:
            yield _read_member(name, member, definitions, path)


def _read_member(
    name: str, member: Mapping[str, Any], definitions: Mapping[str, Any], path: tuple[str, ...]
) -> dict[str, Any]:
    forms = [
        definitions[form["$ref"].rpartition("/")[2]] if "$ref" in form else form
        for form in member.get("anyOf", [member])
    ]
    forms = [form for form in forms if form.get("type") != "null"]
    types = {form.get("type") for form in forms}
    field: dict[str, Any] = {"name": name, "path": [*path, name], "kind": _choose_kind(types)}
    if choices := [choice for form in forms for choice in form.get("enum", ())]:
        field |= {"kind": "choice", "choices": choices}
    if "description" in member:
        field["description"] = " ".join(member["description"].split())
    if member.get("default") is not None and member["default"] != []:
        field["default"] = member["default"]
    if "x-unit" in member:
        field["unit"] = member["x-unit"]
    for form in forms:
        if form.get("type") in NUMBERS:
            field |= {BOUNDS[k]: form[k] for k in BOUNDS if k in form and abs(form[k]) < MAX_BOUND}
    if name in COMMON:
        field["common"] = True
    return field


def _choose_kind(types: set[Any]) -> str:
    if types == {"boolean"}:
        return "boolean"
    if types and types <= NUMBERS:
        return "number" if "number" in types else "integer"
    if types == {"string"}:
        return "text"
    return "text-or-json" if "string" in types else "json"
