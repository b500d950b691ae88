"""The types of settings: what pydantic has, and the spellings that users and forms send beside."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    WrapValidator,
    field_validator,
)
from pydantic_core import PydanticKnownError

from worker.settings.members import BOUNDS, check_members
from worker.suggest import HINT, suggest
from worker.validation_errors import expected_choices, invalid_value

Port = Annotated[int, Field(ge=1, le=65_535)]

FACTORS = {
    **{"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12},
    **{"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40},
}
"""Suffixes of numbers, as vLLM's own command line takes them."""

SUFFIXED = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT])")
SUFFIXED_IN_JSON = re.compile(r"\b\d+(?:\.\d+)?[kKmMgGtT]\b")
INTEGER = re.compile(r"\+?\d{1,18}")
QUOTED = re.compile(r'("(?:[^"\\]|\\.)*")')


class SettingsModel(BaseModel):
    """Base of every group of settings: immutable, and strict about names."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    @field_validator("*", mode="before")
    @classmethod
    def normalize(cls, value: Any, info: ValidationInfo) -> Any:
        """Accept surrounding spaces and any spelling of a choice; a boolean is not a number."""
        accepted = _members(cls.model_fields[info.field_name or ""].annotation)
        if isinstance(value, str):
            value = value.strip()
            if not is_text(value):
                raise invalid_value("not text", "UTF-8 without null bytes")
        if isinstance(value, bool) and bool not in accepted:
            if int in accepted or float in accepted:
                raise PydanticKnownError("int_type" if int in accepted else "float_type")
            value = str(value).lower() if str in accepted else value
        choices = [choice for item in accepted for choice in _choices(item)]
        return choose(value, choices) if choices else value


def is_text(text: str) -> bool:
    """Whether a text can be a path, an argument and a line of output."""
    try:
        text.encode()
    except UnicodeEncodeError:  # It had bytes that are not UTF-8.
        return False
    return "\0" not in text


def _members(annotation: Any) -> tuple[Any, ...]:
    """Return the types of a union, each without its constraints."""
    if get_origin(annotation) is Literal:
        return (annotation,)
    members = get_args(annotation) if type(None) in get_args(annotation) else (annotation,)
    return tuple(get_args(m)[0] if get_origin(m) is Annotated else m for m in members)


def _choices(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def choose(value: Any, choices: Sequence[Any]) -> Any:
    """Return the choice that `value` names, also in another case or with `-` for `_`."""
    if isinstance(value, (dict, list)) or value in choices:
        return value
    folded = {_fold(choice): choice for choice in choices}
    if _fold(value) in folded:
        return folded[_fold(value)]
    near = suggest(str(value), [c for c in choices if isinstance(c, str)], HINT)
    raise invalid_value("unknown value", expected_choices(choices), near)


def _fold(value: Any) -> str:
    return str(value).lower().replace("-", "_")


def value_type(schema: Mapping[str, Any], kind: str, names: Sequence[str], pairs: bool) -> Any:
    """Return the type of one of vLLM's options.

    Args:
        schema: JSON Schema of the value.
        kind: How the command line takes it, e.g. `integer`, `switch`, `object`.
        names: Registered names of an open list.
        pairs: Whether `a=1,b=2` is accepted for an object.
    """
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    bounds = [bound(schema[key]) for key, bound in BOUNDS.items() if key in schema]
    if kind in ("switch", "flag", "boolean"):
        return bool
    if kind == "integer":
        return Annotated[int, Field(), *bounds]
    if kind == "human-integer":
        return Annotated[int, *bounds, BeforeValidator(expand_suffix)]
    if kind == "human-integer-or-auto":
        return Annotated[int, Ge(1), BeforeValidator(expand_suffix), WrapValidator(allow_auto)]
    if kind == "number":
        return Annotated[float, Field(), *bounds]
    if kind == "string":
        return _text_type(schema, names)
    if kind == "lora-modules":
        item = {**schema.get("items", {}), "additionalProperties": False}
        return Annotated[list[Any], BeforeValidator(split_adapters), _each_adapter(item)]
    if schema.get("type") == "array":
        return Annotated[list[_item_type(schema)], BeforeValidator(split_list)]  # type: ignore[misc]
    decode = functools.partial(decode_object, pairs=pairs, or_text=kind == "object-or-string")
    return Annotated[Any, BeforeValidator(decode), AfterValidator(check_members(schema))]


def _text_type(schema: Mapping[str, Any], names: Sequence[str]) -> Any:
    if names:
        known = {_fold(name): name for name in names}
        return Annotated[str, AfterValidator(functools.partial(_spell, known))]
    constraints = StringConstraints(
        min_length=schema.get("minLength"),
        max_length=schema.get("maxLength"),
        pattern=schema.get("pattern"),
    )
    return Annotated[str, constraints]


def _spell(known: Mapping[str, str], value: str) -> str:
    """Correct the spelling of a known name (`Hermes`); the list is open, so others pass."""
    return known.get(_fold(value), value)


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
            hint = " (JSON wants double quotes)" if "'" in text else ""
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
    raise invalid_value(f"{text!r} is not of the right form", f"texts that match {pattern}")


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
