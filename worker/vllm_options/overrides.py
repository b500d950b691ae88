"""Additions to the captured vLLM options: names, presentation, late checks, defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.metadata import Meta
from worker.yaml_reader import read_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Override(Meta):
    """Additions to one captured option.

    Attributes:
        category: Heading in the console forms; None keeps the option out of them.
        schema: JSON Schema keywords that vLLM checks only at start, or not at all.
        known_values: Accepted names of a list that stays open to dotted class paths and plugins.
        zero_is_unset: 0 means "not set", although vLLM's parser takes it.
        accepts_pairs: `a=1,b=2` is accepted for a JSON object.
        default: The worker's default, where vLLM would choose otherwise.
        default_gpu: The same, on a machine with a GPU only.
        default_cpu: The same, on a machine without.
    """

    category: str | None = None
    schema: Mapping[str, Any] = field(default_factory=dict)
    known_values: tuple[str, ...] = ()
    zero_is_unset: bool = False
    accepts_pairs: bool = False
    default: Any = None
    default_gpu: Any = None
    default_cpu: Any = None


def _read(category: str | None, facts: Mapping[str, Any]) -> Override:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()
    }
    return Override(category=category, **values)


_TABLE = read_table(__file__)
_CATEGORIES = {None: _TABLE["other"], **_TABLE["console"]}

OVERRIDES: Mapping[str, Override] = {
    name: _read(category, facts)
    for category, options in _CATEGORIES.items()
    for name, facts in options.items()
}
RESERVED = {name: why for why, names in _TABLE["reserved"].items() for name in names}
"""Options of vLLM that no setting reaches, with the reason or with what does."""

COMMON = frozenset(_TABLE["common"])
"""Reserved names that other software sets too; in the environment they are not reported."""
