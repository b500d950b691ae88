"""A value with its origin, and what was found while values were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.errors import Problem
from worker.settings.option import Option


@dataclass(frozen=True, slots=True)
class ResolvedValue:
    """One option's value and its origin.

    Attributes:
        option: What it is the value of.
        value: Typed; a secret is a `SecretStr`.
        origin: The source or sources that it came from, e.g. `environment`, `profile qwen3`.
        location: What the user typed to set it, for problems that are found later.
    """

    option: Option
    value: Any
    origin: str
    location: str

    @property
    def is_default(self) -> bool:
        """Whether nobody set it."""
        return self.origin.startswith("default")


Values = dict[str, ResolvedValue]
"""Values by the option's name."""


@dataclass(slots=True)
class Diagnostics:
    """Problems end a start, warnings are logged."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def merge_objects(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Return both objects in one; `upper` wins where both have a plain value."""
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = merge_objects(below, value) if both else value  # type: ignore[arg-type]
    return merged


def merge_values(sources: Sequence[Values]) -> Values:
    """Return the values of all sources; JSON objects are merged member by member.

    Args:
        sources: Lowest precedence first.
    """
    merged: Values = {}
    for values in sources:
        for name, upper in values.items():
            lower = merged.get(name)
            if (
                lower is not None
                and isinstance(lower.value, dict)
                and isinstance(upper.value, dict)
            ):
                origins = dict.fromkeys((lower.origin, upper.origin))
                value = merge_objects(lower.value, upper.value)
                upper = ResolvedValue(upper.option, value, " + ".join(origins), upper.location)
            merged[name] = upper
    return merged


def to_state(values: Values) -> dict[str, dict[str, Any]]:
    """Return values by group and field, as the settings are nested."""
    state: dict[str, dict[str, Any]] = {}
    for item in values.values():
        group, name = item.option.path
        state.setdefault(group, {})[name] = item.value
    return state
