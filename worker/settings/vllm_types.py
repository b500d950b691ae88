"""The types of vLLM's options: pydantic types from the captured schema, and how users write values.

JSON objects are checked as vLLM's own classes do. vLLM converts some values itself ("3" for 3), by
the same rules; what is passed on is the object as it was written. `tests/e2e/test_differences.py`
compares the two.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, Union

from annotated_types import Ge, Gt, Le, Lt
from pydantic import (
    AfterValidator,
    BeforeValidator,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WrapValidator,
)
from pydantic_core import ErrorDetails, PydanticCustomError
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from worker.errors import shorten
from worker.settings.registry import SWITCH_KINDS, Option
from worker.settings.types import choose, fold
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

FACTORS = {
    **{"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12},
    **{"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40},
}
"""Suffixes of numbers, as vLLM's own command line takes them."""

SUFFIXED = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT])")
SUFFIXED_IN_JSON = re.compile(r"\b\d+(?:\.\d+)?[kKmMgGtT]\b")
INTEGER = re.compile(r"\+?\d{1,18}")
QUOTED = re.compile(r'("(?:[^"\\]|\\.)*")')


def value_type(option: Option) -> Any:
    """Return the type of one of vLLM's options."""
    schema, kind = option.schema, option.kind
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    if kind in (*SWITCH_KINDS, "integer", "number"):
        return _type_of(schema)
    if kind == "human-integer":
        return Annotated[_type_of(schema), BeforeValidator(expand_suffix)]
    if kind == "human-integer-or-auto":
        return Annotated[int, Ge(1), BeforeValidator(expand_suffix), WrapValidator(allow_auto)]
    if kind == "string":
        return _text_type(schema, option.known_values)
    if kind == "lora-modules":
        item = {**schema.get("items", {}), "additionalProperties": False}
        return Annotated[list[Any], BeforeValidator(split_adapters), _each_adapter(item)]
    if schema.get("type") == "array":
        return Annotated[list[_item_type(schema)], BeforeValidator(split_list)]  # type: ignore[misc]
    decode = functools.partial(
        decode_object, pairs=option.accepts_pairs, or_text=kind == "object-or-string"
    )
    return Annotated[Any, BeforeValidator(decode), AfterValidator(check_members(schema))]


def _text_type(schema: Mapping[str, Any], names: Sequence[str]) -> Any:
    if names:
        known = {fold(name): name for name in names}
        return Annotated[str, AfterValidator(functools.partial(_spell, known))]
    constraints = StringConstraints(
        min_length=schema.get("minLength"),
        max_length=schema.get("maxLength"),
        pattern=schema.get("pattern"),
    )
    return Annotated[str, constraints]


def _spell(known: Mapping[str, str], value: str) -> str:
    """Correct the spelling of a known name (`Hermes`); the list is open, so others pass."""
    return known.get(fold(value), value)


def expand_suffix(value: Any) -> Any:
    """Accept a suffix: `8k` is 8000, `8K` is 8192."""
    match = SUFFIXED.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    number, suffix = match.groups()
    if suffix.isupper() and "." in number:
        hint = f"for example {number}{suffix.lower()}"
        raise invalid_value("a decimal before a binary suffix", hint)
    return int(float(number) * FACTORS[suffix])


def allow_auto(value: Any, validate: Callable[[Any], int]) -> int | str:
    """Accept `auto` or -1: as much as fits."""
    return "auto" if str(value).lower() in ("auto", "-1") else validate(value)


def decode_json(text: str) -> Any:
    """Decode JSON with vLLM's number suffixes outside of quotes (`{"bytes": 80m}`)."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if not isinstance(error, json.JSONDecodeError):
            # Thousands of nested brackets, or of digits.
            raise invalid_value("JSON too deep or too long", "a shorter value") from None
        parts = QUOTED.split(text)
        parts[::2] = [
            SUFFIXED_IN_JSON.sub(lambda match: str(expand_suffix(match[0])), part)
            for part in parts[::2]
        ]
        try:
            return json.loads("".join(parts))
        except ValueError:
            message = f"not valid JSON: {error.msg} at character {error.pos + 1}"
            hint = " (JSON needs double quotes)" if "'" in text else ""
            raise invalid_value(message, f'JSON, for example {{"key": 1}}{hint}') from None


def decode_object(value: Any, *, pairs: bool, or_text: bool) -> Any:
    """Accept a JSON object as text, `image=1,video=0` with `pairs`, any text with `or_text`."""
    if isinstance(value, str):
        if or_text and not value.startswith("{"):
            return value
        is_json = not pairs or value.startswith(("{", "["))
        value = decode_json(value) if is_json else _split_pairs(value)
    if not isinstance(value, dict):
        raise invalid_value("not a JSON object", 'a JSON object, for example {"key": 1}')
    return value


def _split_pairs(text: str) -> dict[str, int]:
    pairs: dict[str, int] = {}
    for part in text.split(","):
        name, _, count = (item.strip() for item in part.partition("="))
        if not name or not count.isdecimal():
            raise invalid_value("not a limit", 'JSON such as {"image": 1}, or image=1,video=0')
        pairs[name] = int(count)
    return pairs


def split_list(value: Any) -> list[Any]:
    """Accept a JSON array or comma-separated text."""
    if isinstance(value, str):
        value = decode_json(value) if value.startswith(("[", "{")) else value.split(",")
    items = value if isinstance(value, list) else [value]
    expected = "comma-separated values or a JSON array"
    if any(item is None or isinstance(item, (dict, list)) for item in items):
        raise invalid_value("not a list", expected)
    texts = [text for item in items if (text := str(item).strip())]
    # The command line would take a leading dash for another option.
    if not texts or any(text.startswith("-") for text in texts):
        raise invalid_value("not a usable list", expected)
    return texts


def _item_type(schema: Mapping[str, Any]) -> Any:
    items = schema.get("items", {})
    if "enum" in items:
        choices = items["enum"]
        return Annotated[str, AfterValidator(functools.partial(choose, choices=choices))]
    if items.get("type") == "integer":
        return Annotated[int, BeforeValidator(_plain_integer)]
    match = functools.partial(_match, items.get("pattern", ""))
    return Annotated[str, AfterValidator(match)] if "pattern" in items else str


def _plain_integer(text: str) -> str:
    """Refuse what vLLM's command line does not read as an integer, such as `1.0`."""
    if INTEGER.fullmatch(text):
        return text
    raise invalid_value("not all integers", "integers, comma-separated")


def _match(pattern: str, text: str) -> str:
    if re.fullmatch(pattern, text):
        return text
    raise invalid_value(
        f"{shorten(text)!r} is not in the right format", f"texts that match {pattern}"
    )


def split_adapters(value: Any) -> list[Any]:
    """Accept LoRA adapters in any spelling: JSON list or object, or `name=path name=path`."""
    if isinstance(value, str):
        value = decode_json(value) if value.startswith(("[", "{")) else re.split(r"[,\s]+", value)
    items = [item for item in (value if isinstance(value, list) else [value]) if item != ""]
    if not items:
        raise invalid_value("no LoRA adapter", "name=path, or a JSON array of objects")
    return items


def _each_adapter(schema: Mapping[str, Any]) -> AfterValidator:
    check = check_members(schema)
    expected = 'objects such as {"name": "sql", "path": "org/adapter"}, or name=path'

    def parse(item: Any) -> dict[str, Any]:
        if isinstance(item, str) and "=" in item:
            name, _, path = item.partition("=")
            item = {"name": name, "path": path}
        if not isinstance(item, dict):
            raise invalid_value("not a LoRA adapter", expected)
        missing = [key for key in ("name", "path") if not item.get(key)]
        if missing:
            raise invalid_value(f"a LoRA adapter without {' and '.join(missing)}", expected)
        adapter: dict[str, Any] = check(item)
        return adapter

    return AfterValidator(lambda items: [parse(item) for item in items])


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
        return _object_type(schema) if schema.get("properties") else dict[str, other]  # type: ignore[valid-type]
    if kind not in SCALARS:
        return Any
    bounds = [bound(schema[key]) for key, bound in BOUNDS.items() if key in schema]
    return Annotated[SCALARS[kind], *bounds] if bounds else SCALARS[kind]


def _object_type(schema: Schema) -> Any:
    members, required = schema["properties"], schema.get("required", ())
    fields = {
        name: _type_of(member) if name in required else NotRequired[_type_of(member)]
        for name, member in members.items()
    }
    # `locate` leaves out names of union members that are not identifiers.
    object_type = TypedDict("JSON object", fields)  # type: ignore[misc]
    if schema.get("additionalProperties") is not False:
        return object_type
    return Annotated[object_type, BeforeValidator(functools.partial(_refuse_unknown, members))]


def _refuse_unknown(known: Collection[str], value: Any) -> Any:
    for key in value if isinstance(value, dict) else ():
        if key not in known:
            near = suggest(str(key), known, HINT)
            raise invalid_value(
                f"unknown key {shorten(str(key))!r}", expected_choices(sorted(known)), near
            )
    return value


def _choose(choices: list[Any], value: Any) -> Any:
    """Accept text in any case, as many of vLLM's enumerations do, and other values as they are."""
    names = [choice for choice in choices if isinstance(choice, str)]
    if isinstance(value, str):
        if value.lower() in (name.lower() for name in names):
            return value
        near = suggest(value, names, HINT)
        raise invalid_value(f"unknown value {shorten(value)!r}", expected_choices(choices), near)
    if any(value == choice and isinstance(value, type(choice)) for choice in choices):
        return value
    shown = shorten(json.dumps(value, default=str))
    raise invalid_value(f"unknown value {shown}", expected_choices(choices))


def underscore_keys(value: Any, schema: Schema) -> Any:
    """Return the value with `-` replaced by `_` in the names of known members."""
    properties: Mapping[str, Schema] = schema.get("properties", {})
    if not isinstance(value, dict) or not properties:
        return value
    result: dict[str, Any] = {}
    for key, item in value.items():
        name = str(key).replace("-", "_")
        known = name if name in properties and name not in value else key
        result[known] = underscore_keys(item, properties.get(known, {}))
    return result
