"""From a Python annotation, of our settings or of vLLM's configuration classes, to JSON Schema.

pydantic's own generator gives up on a whole class for one exotic field (a torch dtype, a validator
function), so this walks the annotation itself and leaves `{}`, "anything", where it cannot tell.
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

DEEPEST = 3
"""Levels of nested configuration classes that are described; deeper ones are `{}`."""

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


def describe(annotation: Any, *, depth: int = 0) -> Schema:
    """Return the JSON Schema of one annotation; `{}` where nothing can be said."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation in SCALARS:
        return dict(SCALARS[annotation])
    if origin is Annotated:
        return bounded(describe(args[0], depth=depth), args[1:])
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (Union, types.UnionType):
        return _describe_union(args, depth)
    if origin in (list, set, tuple, frozenset) or annotation in (list, set, tuple):
        return _describe_array(origin or annotation, args, depth)
    if origin is dict or annotation is dict:
        values = describe(args[1], depth=depth) if len(args) == 2 else {}
        return {"type": "object", **({"additionalProperties": values} if values else {})}
    if isinstance(annotation, type):
        return _describe_class(annotation, depth)
    return {}


def bounded(schema: Schema, metadata: Any) -> Schema:
    """Add the bounds that pydantic's metadata declares to the branches of a schema that have them.

    Numbers have bounds, texts a length and a pattern.
    """
    if "anyOf" in schema:
        return {"anyOf": [bounded(branch, metadata) for branch in schema["anyOf"]]}
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
        branch = describe(arg, depth=depth)
        if not branch:
            return {}
        if branch not in branches:
            branches.append(branch)
    return branches[0] if len(branches) == 1 else {"anyOf": branches}


def _describe_array(origin: Any, args: tuple[Any, ...], depth: int) -> Schema:
    if origin is tuple and args and Ellipsis not in args:
        items = [describe(arg, depth=depth) for arg in args]
        return {
            "type": "array",
            "prefixItems": items,
            "minItems": len(args),
            "maxItems": len(args),
        }
    item = describe(args[0], depth=depth) if args else {}
    return {"type": "array", "items": item} if item else {"type": "array"}


def _describe_class(cls: type, depth: int) -> Schema:
    if issubclass(cls, enum.Enum):
        # vLLM takes some enumerations by name and others by value; either is right.
        names = [*cls.__members__, *(m.value for m in cls if not isinstance(m.value, str))]
        return {"enum": names}
    if not is_dataclass(cls):
        return {}
    if depth >= DEEPEST:
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
            properties[field.name] = describe(hints.get(field.name), depth=depth)
            continue
        if _is_internal(info):
            continue
        schema = describe(info.annotation, depth=depth)
        properties[field.name] = bounded(schema, info.metadata)
    return properties


def _required_fields(cls: type) -> list[str]:
    declared = getattr(cls, "__pydantic_fields__", {})
    return [
        name for name, info in declared.items() if info.is_required() and not _is_internal(info)
    ]


def takes_text(annotation: Any) -> bool:
    """Whether a text is among what an annotation takes."""
    if get_origin(annotation) is Annotated:
        return takes_text(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return any(takes_text(arg) for arg in get_args(annotation))
    return annotation is str or annotation is Any


def _is_internal(info: Any) -> bool:
    """Whether vLLM fills the field itself (`SkipValidation[ModelConfig]`)."""
    return any(type(item).__name__ == "SkipValidation" for item in info.metadata)


def plain_default(default: Any) -> Any:
    """Return a default as JSON, or `MISSING` where it has no sensible JSON form."""
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
"""Starts of paragraphs that vLLM appends to many options and that the kind of value says better."""


CROSS_REFERENCE = re.compile(r"\[`?([^\]`]+)`?\]\[[^\]]*\]")
"""A link that only vLLM's own documentation can follow: `[x][]`, `[x][vllm.config.X]`."""


def clean_text(text: str) -> str:
    """Return a docstring as Markdown paragraphs, without indentation and argparse's escapes."""
    paragraphs = inspect.cleandoc(text.replace("%%", "%")).strip().split("\n\n")
    for start, paragraph in enumerate(paragraphs):
        if paragraph.lstrip().startswith(BOILERPLATE):
            paragraphs = paragraphs[:start]
            break
    return CROSS_REFERENCE.sub(r"`\1`", "\n\n".join(paragraphs)).strip()
