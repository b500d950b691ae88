"""Values to try for one option: right, at its bounds, beyond them, and wrong in many ways.

The values follow from the option's captured schema. The same schema gives the same values.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

LONG_TEXT = "x" * 5000
TEXTS = (
    *("", " ", "none", "auto", "true", "False", "unknown-name"),
    *("0", "1", "-1", "2", "+3", "1.0", "1.5", "-0.5", "1_000", "nan", "inf"),
    *("4k", "4K", "1.5K", "2147483648", "9" * 40),
    *("a,b", "a=1,b=2", ",", "-x", "/nowhere/file"),
    *("[]", "[1]", "[null]", "[[]]", "{}", '{"a": 1}', "{'a': 1}", "{"),
    *("{{ x }}", "{% x %}", "模型", "http://host:1", LONG_TEXT),
)
"""Tried for every option, whatever it takes."""

SCALARS = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    1.5,
    -0.5,
    2**31,
    2**63,
    "",
    "x",
    "1",
    [],
    [1],
    {},
    {"a": 1},
)
"""Tried for every member of a JSON object."""

BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
NUMBERS = 6
"""Random numbers for each numeric option."""


def values_of(name: str, schema: Schema, names: tuple[str, ...] = ()) -> list[str]:
    """Return the texts to try for one option, each once.

    Args:
        name: Seeds the random ones.
        schema: The option's JSON Schema.
        names: Registered names that the option takes.
    """
    chance = random.Random(name)
    texts = [*TEXTS, *_choices(schema, names), *_numbers(schema, chance)]
    texts += [json.dumps(value) for value in _objects(schema, chance)]
    items = schema.get("items")
    if isinstance(items, Mapping):
        texts += [json.dumps([value]) for value in _members(items, chance)]
        texts += [str(value) for value in _members(items, chance) if isinstance(value, (str, int))]
    return list(dict.fromkeys(texts))


def _choices(schema: Schema, names: tuple[str, ...]) -> Iterator[str]:
    for choice in (*schema.get("enum", ()), *names):
        text = str(choice)
        yield from (text, text.upper(), f"{text}x", f" {text} ")


def _numbers(schema: Schema, chance: random.Random) -> Iterator[str]:
    if schema.get("type") not in ("integer", "number"):
        return
    for keyword in BOUNDS:
        if keyword in schema:
            bound = schema[keyword]
            yield from (str(bound + step) for step in (-1, -0.5, 0, 0.5, 1))
    yield from (str(chance.randint(0, 10 ** chance.randint(1, 9))) for _ in range(NUMBERS))
    yield from (f"{chance.uniform(-1, 2):.3f}" for _ in range(NUMBERS))


def _objects(schema: Schema, chance: random.Random) -> Iterator[dict[str, Any]]:
    """Yield objects of one member each, and one with a member that does not exist."""
    for key, member in schema.get("properties", {}).items():
        for value in _members(member, chance):
            yield {key: value}
        yield {f"{key}x": 1}
        if "_" in key:
            yield {key.replace("_", "-"): next(_right(member, chance), 1)}


def _members(schema: Schema, chance: random.Random) -> Iterator[Any]:
    yield from SCALARS
    yield from _right(schema, chance)


def _right(schema: Schema, chance: random.Random) -> Iterator[Any]:
    """Yield values that the schema names, and those around its bounds."""
    for branch in schema.get("anyOf", [schema]):
        yield from branch.get("enum", ())
        for keyword in BOUNDS:
            if keyword in branch:
                yield from (branch[keyword] - 1, branch[keyword], branch[keyword] + 1)
        if branch.get("type") == "array":
            item = branch.get("items", {})
            yield [next(_right(item, chance), "x")]
            yield ["x", 1]
        if branch.get("type") == "object":
            yield from _objects(branch, chance)
        if branch.get("type") == "string":
            yield "text"
        if branch.get("type") in ("integer", "number"):
            yield chance.randint(1, 1000)
