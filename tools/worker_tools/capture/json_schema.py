"""JSON Schema of the annotations in vLLM's configuration classes.

pydantic's generator fails for a whole class if one field has no JSON Schema, such as a torch dtype.
This module reads the annotations itself and uses `{}`, "anything", for such a field.
"""

from __future__ import annotations

import enum
import inspect
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types
from pydantic import SecretStr

Schema = dict[str, Any]

MAX_DEPTH = 3
"""Levels of nested configuration classes; deeper ones are `{}`."""

SCALARS: Mapping[Any, Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    Path: {"type": "string"},
    SecretStr: {"type": "string"},
    types.NoneType: {"type": "null"},
}
BOUNDS = (
    (annotated_types.Ge, "ge", "minimum"),
    (annotated_types.Gt, "gt", "exclusiveMinimum"),
    (annotated_types.Le, "le", "maximum"),
    (annotated_types.Lt, "lt", "exclusiveMaximum"),
)
LENGTHS = (
    (annotated_types.MinLen, "min_length", "minLength"),
    (annotated_types.MaxLen, "max_length", "maxLength"),
)


def annotation_schema(annotation: Any, *, depth: int = 0) -> Schema:
    """Return the JSON Schema of an annotation; `{}` if it has none."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation in SCALARS:
        return dict(SCALARS[annotation])
    if origin is Annotated:
        return apply_bounds(annotation_schema(args[0], depth=depth), args[1:])
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (Union, types.UnionType):
        return _describe_union(args, depth)
    if origin in (list, set, tuple, frozenset) or annotation in (list, set, tuple):
        return _describe_array(origin or annotation, args, depth)
    if origin is dict or annotation is dict:
        values = annotation_schema(args[1], depth=depth) if len(args) == 2 else {}
        return {"type": "object", **({"additionalProperties": values} if values else {})}
    if isinstance(annotation, type):
        return _describe_class(annotation, depth)
    return {}


def apply_bounds(schema: Schema, metadata: Any) -> Schema:
    """Add the bounds in pydantic's metadata: of numbers, and the length and pattern of texts."""
    if "anyOf" in schema:
        return {"anyOf": [apply_bounds(branch, metadata) for branch in schema["anyOf"]]}
    if schema.get("type") in ("integer", "number"):
        return {**schema, **_declared(metadata, BOUNDS)}
    if schema.get("type") != "string":
        return schema
    pattern = next((found for item in metadata if (found := getattr(item, "pattern", None))), None)
    lengths = _declared(metadata, LENGTHS)
    return {**schema, **lengths, **({"pattern": pattern} if pattern else {})}


def _declared(metadata: Any, kinds: Any) -> Schema:
    return {
        keyword: getattr(item, attribute)
        for item in metadata
        for kind, attribute, keyword in kinds
        if isinstance(item, kind)
    }


def _describe_union(args: tuple[Any, ...], depth: int) -> Schema:
    branches: list[Schema] = []
    for arg in args:
        branch = annotation_schema(arg, depth=depth)
        if not branch:
            return {}
        if branch not in branches:
            branches.append(branch)
    return branches[0] if len(branches) == 1 else {"anyOf": branches}


def _describe_array(origin: Any, args: tuple[Any, ...], depth: int) -> Schema:
    if origin is tuple and args and Ellipsis not in args:
        items = [annotation_schema(arg, depth=depth) for arg in args]
        return {
            "type": "array",
            "prefixItems": items,
            "minItems": len(args),
            "maxItems": len(args),
        }
    item = annotation_schema(args[0], depth=depth) if args else {}
    return {"type": "array", "items": item} if item else {"type": "array"}


def _describe_class(cls: type, depth: int) -> Schema:
    if issubclass(cls, enum.Enum):
        # vLLM accepts some enumerations by name and others by value.
        names = [*cls.__members__, *(m.value for m in cls if not isinstance(m.value, str))]
        return {"enum": names}
    if not is_dataclass(cls):
        return {}
    if depth >= MAX_DEPTH:
        return {"type": "object"}
    schema: Schema = {"type": "object", "properties": _describe_fields(cls, depth + 1)}
    if required := _required_fields(cls):
        schema["required"] = required
    if getattr(cls, "__pydantic_config__", {}).get("extra") == "forbid":
        schema["additionalProperties"] = False
    return schema


def _describe_fields(cls: type, depth: int) -> dict[str, Schema]:
    declared = getattr(cls, "__pydantic_fields__", {})
    hints = {} if declared else get_type_hints(cls, include_extras=True)
    properties: dict[str, Schema] = {}
    for field in fields(cls):
        if not field.init:
            continue
        info = declared.get(field.name)
        if info is None:
            properties[field.name] = annotation_schema(hints.get(field.name), depth=depth)
            continue
        if _is_internal(info):
            continue
        schema = annotation_schema(info.annotation, depth=depth)
        properties[field.name] = apply_bounds(schema, info.metadata)
    return properties


def _required_fields(cls: type) -> list[str]:
    declared = getattr(cls, "__pydantic_fields__", {})
    return [
        name for name, info in declared.items() if info.is_required() and not _is_internal(info)
    ]


def accepts_text(annotation: Any) -> bool:
    """Return whether an annotation accepts a text."""
    if get_origin(annotation) is Annotated:
        return accepts_text(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return any(accepts_text(arg) for arg in get_args(annotation))
    return annotation is str or annotation is Any


def _is_internal(info: Any) -> bool:
    """Return whether vLLM sets the field itself (`SkipValidation[ModelConfig]`)."""
    return any(type(item).__name__ == "SkipValidation" for item in info.metadata)


def json_default(default: Any) -> Any:
    """Return a default as JSON; `MISSING` if it has no useful JSON form."""
    if isinstance(default, enum.Enum):
        default = default.value
    if isinstance(default, (set, tuple, frozenset)):
        default = sorted(default) if not isinstance(default, tuple) else list(default)
    if default is None or isinstance(default, (bool, int, float, str)):
        return default
    if isinstance(default, (list, dict)) and not default:
        return default
    if isinstance(default, list) and all(isinstance(item, (int, str)) for item in default):
        return default
    return MISSING


BOILERPLATE = ("Parse human-readable integers", "API docs:", "Should either be a valid JSON string")
"""First words of paragraphs that vLLM appends to many options; the kind says the same."""


CROSS_REFERENCE = re.compile(r"\[`?([^\]`]+)`?\]\[[^\]]*\]")
"""A link that works in vLLM's documentation only: `[x][]`, `[x][vllm.config.X]`."""


def clean_text(text: str) -> str:
    """Return a docstring as Markdown paragraphs, without indentation and argparse escapes."""
    paragraphs = inspect.cleandoc(text.replace("%%", "%")).strip().split("\n\n")
    for start, paragraph in enumerate(paragraphs):
        if paragraph.lstrip().startswith(BOILERPLATE):
            paragraphs = paragraphs[:start]
            break
    return CROSS_REFERENCE.sub(r"`\1`", "\n\n".join(paragraphs)).strip()
