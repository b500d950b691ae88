"""Checks the members of a JSON object against a captured schema, as vLLM's own classes do.

The schema becomes pydantic models when an object is first checked. vLLM converts some values itself
("3" for 3), by the same rules; what is passed on is the object as it was written.
`tests/e2e/test_differences.py` compares the two.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Union

from annotated_types import Ge, Gt, Le, Lt
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from worker.errors import shorten
from worker.suggest import HINT, suggest
from worker.validation_errors import (
    Parts,
    closest,
    describe,
    expected_choices,
    invalid_value,
    locate,
    value_at,
)

Schema = Mapping[str, Any]

BOUNDS: Mapping[str, Callable[[Any], Any]] = {
    "minimum": Ge,
    "exclusiveMinimum": Gt,
    "maximum": Le,
    "exclusiveMaximum": Lt,
}
SCALARS = {"integer": int, "number": float, "boolean": bool, "string": str, "null": None}


def check_members(schema: Schema) -> Callable[[Any], Any]:
    """Return a validator that checks an object's members and returns it with `_` in known keys."""

    @functools.cache
    def adapter() -> TypeAdapter[Any]:
        return TypeAdapter(_type_of(schema))

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        value = underscore_keys(value, schema)
        try:
            adapter().validate_python(value)
        except ValidationError as error:
            raise _first_fault(error, value) from None
        return value

    return check


def _first_fault(error: ValidationError, data: Any) -> PydanticCustomError:
    """Return the first error, with its place; of a union, the member that comes closest."""
    details = error.errors(include_url=False)
    places = [_place_of(detail, data) for detail in details]
    inner = max(places, key=lambda parts: (parts[:1] == places[0][:1], len(parts)))
    at_place = [d for d, parts in zip(details, places, strict=True) if parts == inner]
    found = describe(closest(at_place)[0])
    path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in inner).removeprefix(".")
    return invalid_value(
        found.message + (f" at {path}" if path else ""), found.expected, found.suggestions
    )


def _place_of(detail: ErrorDetails, data: Any) -> Parts:
    """Return the place of an error; the name of a union's member is not a place."""
    parts = locate(detail["loc"], data)
    container = value_at(data, parts[:-1])
    is_absent = isinstance(container, dict) and parts[-1:] and parts[-1] not in container
    return parts[:-1] if is_absent and detail["type"] != "missing" else parts


class _Members(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=())
    closed: ClassVar[bool] = False

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, value: Any) -> Any:
        """Refuse unknown keys where the class has no others."""
        names = [field.alias or "" for field in cls.model_fields.values()]
        for key in value if cls.closed and isinstance(value, dict) else ():
            if key not in names:
                near = suggest(str(key), names, HINT)
                known = expected_choices(sorted(names))
                raise invalid_value(f"unknown key {str(key)!r}", known, near)
        return value


class _ClosedMembers(_Members):
    closed: ClassVar[bool] = True


def _type_of(schema: Schema) -> Any:
    """Return the type that accepts what a schema does."""
    if "anyOf" in schema:
        return Union[tuple(_type_of(branch) for branch in schema["anyOf"])]  # noqa: UP007
    if "enum" in schema:
        return Annotated[Any, BeforeValidator(functools.partial(_choose, schema["enum"]))]
    kind = schema.get("type")
    if kind == "array":
        return list[_type_of(schema.get("items", {}))]  # type: ignore[misc]
    if kind == "object":
        others = schema.get("additionalProperties")
        other = _type_of(others) if isinstance(others, Mapping) else Any
        return _model_of(schema) if schema.get("properties") else dict[str, other]  # type: ignore[valid-type]
    if kind not in SCALARS:
        return Any
    bounds = [bound(schema[key]) for key, bound in BOUNDS.items() if key in schema]
    return Annotated[SCALARS[kind], Field(), *bounds]


def _model_of(schema: Schema) -> type[BaseModel]:
    base = _ClosedMembers if schema.get("additionalProperties") is False else _Members
    required = schema.get("required", ())
    fields: dict[str, Any] = {
        # A member may have the name of one of the model's own attributes: fields are numbered.
        f"member_{number}": (
            _type_of(member),
            Field(... if name in required else None, alias=name),
        )
        for number, (name, member) in enumerate(schema["properties"].items())
    }
    # `locate` leaves out names of union members that are not identifiers.
    return create_model("JSON object", __base__=base, **fields)


def _choose(choices: list[Any], value: Any) -> Any:
    """Accept text in any case, as many of vLLM's enumerations do, and other values as they are."""
    names = [choice for choice in choices if isinstance(choice, str)]
    if isinstance(value, str):
        if value.lower() in (name.lower() for name in names):
            return value
        near = suggest(value, names, HINT)
        raise invalid_value(f"unknown value {value!r}", expected_choices(choices), near)
    if any(value == choice and isinstance(value, type(choice)) for choice in choices):
        return value
    shown = shorten(json.dumps(value, default=str))
    raise invalid_value(f"unknown value {shown}", expected_choices(choices))


def underscore_keys(value: Any, schema: Schema) -> Any:
    """Return the value with `_` for `-` in the names of known members, as options are written."""
    properties: Mapping[str, Schema] = schema.get("properties", {})
    if not isinstance(value, dict) or not properties:
        return value
    result: dict[str, Any] = {}
    for key, item in value.items():
        name = str(key).replace("-", "_")
        known = name if name in properties and name not in value else key
        result[known] = underscore_keys(item, properties.get(known, {}))
    return result
