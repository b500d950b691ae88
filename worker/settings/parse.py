"""From what a user wrote, text or YAML, to a typed value, by the option's kind and schema."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from worker.settings.objects import check_object, underscore_keys
from worker.settings.rejection import Rejected, expected_choices, expected_number
from worker.suggest import HINT, suggest
from worker.vllm_options.option import SWITCH_KINDS, Option

N = TypeVar("N", int, float)

TRUE = frozenset({"true", "1", "yes", "on"})
FALSE = frozenset({"false", "0", "no", "off"})
UNSET = frozenset({"", "none", "null"})
"""Texts that mean "not set", in any case; consoles send them for empty fields."""

DECIMAL = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
BINARY = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
HUMAN = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT])")
HUMAN_IN_JSON = re.compile(r"\b\d+(?:\.\d+)?[kKmMgGtT]\b")
INTEGER = re.compile(r"\+?\d{1,18}")
QUOTED = re.compile(r'("(?:[^"\\]|\\.)*")')


def is_unset(raw: Any, option: Option, *, from_form: bool) -> bool:
    """Whether a value says "nobody set this".

    Args:
        raw: What was written.
        option: What it was written for.
        from_form: It comes from the environment, where forms send 0 for an empty number field.
    """
    if raw is None:
        return True
    if isinstance(raw, str) and raw.strip().lower() in UNSET:
        return raw.strip() not in option.schema.get("enum", ())
    if from_form and option.zero_is_unset and isinstance(raw, str):
        return bool(re.fullmatch(r"0+(\.0*)?", raw.strip()))
    return False


def parse_value(raw: Any, option: Option) -> Any:
    """Return the typed value.

    Raises:
        Rejected: When the value is not what the option takes.
    """
    text = raw.strip() if isinstance(raw, str) else raw
    value = PARSERS[option.kind](text, option)
    choices = option.schema.get("enum")
    if choices is not None:
        return choose(value, choices)
    if option.names and isinstance(value, str):
        # The list is open; only the spelling of a known name is put right (`Hermes`).
        return {_fold(name): name for name in option.names}.get(_fold(value), value)
    return value


def choose(value: Any, choices: list[Any]) -> Any:
    """Return the choice that `value` names, also in another case or with `-` for `_`.

    Raises:
        Rejected: When it names none.
    """
    if value in choices:
        return value
    folded = {_fold(choice): choice for choice in choices}
    if _fold(value) in folded:
        return folded[_fold(value)]
    names = choices if isinstance(choices[0], str) else ()
    near = suggest(str(value), names, HINT)
    raise Rejected("unknown value", expected_choices(choices), near)


def _fold(value: Any) -> str:
    return str(value).lower().replace("-", "_")


def parse_boolean(raw: Any, option: Option) -> bool:
    """Parse the one table of truth values."""
    if isinstance(raw, bool):
        return raw
    text = str(raw).lower()
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise Rejected("not a truth value", "true, 1, yes, on or false, 0, no, off")


def parse_integer(raw: Any, option: Option) -> int:
    """Parse a plain integer; `4.0` counts, as forms send it."""
    try:
        number = float(raw) if not isinstance(raw, bool) else None
    except (TypeError, ValueError):
        number = None
    if number is None or not abs(number) <= 2**63 or not number.is_integer():
        raise Rejected("not an integer", expected_number(option))
    exact = int(raw) if isinstance(raw, str) and raw.lstrip("+-").isdigit() else int(number)
    return _bounded(exact, option)


def parse_human_integer(raw: Any, option: Option) -> int:
    """Parse an integer with an optional suffix: `8k` is 8000, `8K` is 8192."""
    match = HUMAN.fullmatch(raw) if isinstance(raw, str) else None
    if match is None:
        return parse_integer(raw, option)
    number, suffix = match.groups()
    if suffix in DECIMAL:
        return _bounded(int(float(number) * DECIMAL[suffix]), option)
    if "." in number:
        raise Rejected("a decimal before a binary suffix", f"for example {number}{suffix.lower()}")
    return _bounded(int(number) * BINARY[suffix], option)


def parse_human_integer_or_auto(raw: Any, option: Option) -> int | str:
    """Parse an integer with suffix, or `auto` (-1): as much as fits."""
    if str(raw).lower() in ("auto", "-1"):
        return "auto"
    value = parse_human_integer(raw, option)
    if value < 1:
        raise Rejected("below the minimum", expected_number(option))
    return value


def parse_number(raw: Any, option: Option) -> float:
    """Parse a finite number."""
    try:
        number = float(raw) if not isinstance(raw, bool) else float("nan")
    except (TypeError, ValueError):
        number = float("nan")
    if number != number or number in (float("inf"), float("-inf")):
        raise Rejected("not a number", expected_number(option))
    return _bounded(number, option)


def _bounded(value: N, option: Option) -> N:
    schema = option.schema
    tests: tuple[tuple[str, Callable[[Any], bool]], ...] = (
        ("minimum", lambda bound: value >= bound),
        ("exclusiveMinimum", lambda bound: value > bound),
        ("maximum", lambda bound: value <= bound),
        ("exclusiveMaximum", lambda bound: value < bound),
    )
    for keyword, holds in tests:
        if keyword in schema and not holds(schema[keyword]):
            raise Rejected("out of range", expected_number(option))
    return value


def parse_string(raw: Any, option: Option) -> str:
    """Take text as it is; numbers, which YAML makes of unquoted digits, become text again."""
    if isinstance(raw, (dict, list)):
        raise Rejected("not text", "text")
    text = str(raw).lower() if isinstance(raw, bool) else str(raw)
    schema = option.schema
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if len(text) < least:
        raise Rejected("too short", f"at least {least} characters")
    if most is not None and len(text) > most:
        raise Rejected("too long", f"at most {most} characters")
    if "pattern" in schema and not re.search(schema["pattern"], text):
        example = option.example or option.default
        raise Rejected("not of the right form", f"text such as {example} ({schema['pattern']})")
    return text


def parse_json(raw: Any) -> Any:
    """Parse JSON text, with vLLM's number suffixes outside of quotes (`{"bytes": 80m}`).

    Raises:
        Rejected: When it is not JSON; says where.
    """
    try:
        return json.loads(raw)
    except (RecursionError, ValueError) as error:
        if not isinstance(error, json.JSONDecodeError):
            # Thousands of nested brackets, or of digits.
            raise Rejected("JSON beyond any use", "a shorter value") from None
        parts = QUOTED.split(raw)
        parts[::2] = [HUMAN_IN_JSON.sub(_expand, part) for part in parts[::2]]
        try:
            return json.loads("".join(parts))
        except ValueError:
            place = f"not valid JSON: {error.msg} at character {error.pos + 1}"
            hint = " (JSON wants double quotes)" if "'" in raw else ""
            raise Rejected(place, f'JSON, for example {{"key": 1}}{hint}') from None


def _expand(match: re.Match[str]) -> str:
    text = match.group()
    factor = DECIMAL.get(text[-1]) or BINARY[text[-1]]
    return str(int(float(text[:-1]) * factor))


def parse_object(raw: Any, option: Option) -> Any:
    """Parse a JSON object, checked as far as the schema knows it, or a list of texts."""
    wanted = option.schema.get("type")
    if wanted == "array" and isinstance(raw, str) and not raw.startswith(("{", "[")):
        return parse_list(raw, option)
    if isinstance(raw, str) and option.pairs and not raw.startswith(("{", "[")):
        value: Any = _parse_pairs(raw)
    else:
        value = parse_json(raw) if isinstance(raw, str) else raw
    if wanted == "array" and not isinstance(value, list):
        raise Rejected("not a list", "comma-separated values or a JSON array")
    if wanted != "array" and not isinstance(value, dict):
        raise Rejected("not a JSON object", 'a JSON object, for example {"key": 1}')
    value = underscore_keys(value, option.schema)
    check_object(value, option.schema)
    return value


def _parse_pairs(raw: str) -> dict[str, int]:
    """Parse `image=1,video=0`, the spelling of the original worker."""
    pairs: dict[str, int] = {}
    for part in raw.split(","):
        name, _, count = part.partition("=")
        if not name.strip() or not count.strip().isdigit():
            raise Rejected("not a limit", 'JSON such as {"image": 1}, or image=1,video=0')
        pairs[name.strip()] = int(count)
    return pairs


def parse_object_or_string(raw: Any, option: Option) -> Any:
    """Parse a JSON object where it looks like one, and take other text as it is."""
    if isinstance(raw, str) and not raw.startswith("{"):
        return raw
    return parse_object(raw, option)


def parse_list(raw: Any, option: Option) -> list[Any]:
    """Parse a JSON array or comma-separated text."""
    if isinstance(raw, str):
        items = parse_json(raw) if raw.startswith("[") else raw.split(",")
    else:
        items = raw if isinstance(raw, list) else [raw]
    if not isinstance(items, list) or any(
        item is None or isinstance(item, (dict, list)) for item in items
    ):
        raise Rejected("not a list", "a JSON array or comma-separated values")
    texts = [text for item in items if (text := str(item).strip())]
    if not texts or any(text.startswith("-") for text in texts):
        raise Rejected("not a usable list", "a JSON array or comma-separated values")
    schema = option.schema.get("items", {})
    if "enum" in schema:
        return [choose(text, schema["enum"]) for text in texts]
    if schema.get("type") == "integer":
        if not all(INTEGER.fullmatch(text) for text in texts):
            raise Rejected("not all integers", "integers, comma-separated")
        return [int(text) for text in texts]
    pattern = schema.get("pattern")
    if pattern and (wrong := next((t for t in texts if not re.fullmatch(pattern, t)), None)):
        raise Rejected(f"{wrong!r} is not of the right form", f"texts that match {pattern}")
    return texts


def parse_lora_modules(raw: Any, option: Option) -> list[dict[str, Any]]:
    """Parse adapters in any spelling: JSON list, JSON object, or `name=path name=path`."""
    value = raw
    if isinstance(raw, str):
        value = parse_json(raw) if raw.startswith(("[", "{")) else re.split(r"[,\s]+", raw)
    items = value if isinstance(value, list) else [value]
    return [_parse_lora_module(item, option) for item in items if item != ""]


def _parse_lora_module(item: Any, option: Option) -> dict[str, Any]:
    expected = 'objects such as {"name": "sql", "path": "org/adapter"}, or name=path'
    if isinstance(item, str) and "=" in item:
        name, _, path = item.partition("=")
        item = {"name": name, "path": path}
    if not isinstance(item, dict):
        raise Rejected("not a LoRA adapter", expected)
    missing = [key for key in ("name", "path") if not item.get(key)]
    if missing:
        raise Rejected(f"a LoRA adapter without {' and '.join(missing)}", expected)
    schema: Mapping[str, Any] = {**option.schema.get("items", {}), "additionalProperties": False}
    check_object(item, schema)
    return item


PARSERS: Mapping[str, Callable[[Any, Option], Any]] = {
    **dict.fromkeys(SWITCH_KINDS, parse_boolean),
    "integer": parse_integer,
    "human-integer": parse_human_integer,
    "human-integer-or-auto": parse_human_integer_or_auto,
    "number": parse_number,
    "string": parse_string,
    "object": parse_object,
    "json": parse_object,
    "object-or-string": parse_object_or_string,
    "list": parse_list,
    "integer-list": parse_list,
    "comma-list": parse_list,
    "repeated": parse_list,
    "lora-modules": parse_lora_modules,
}
