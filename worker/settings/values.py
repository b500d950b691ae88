"""Values with their origins, and the problems found while reading them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.errors import Problem
from worker.settings.registry import Option, load_registry


@dataclass(frozen=True, slots=True)
class ResolvedValue:
    """One option's value and its origin.

    Attributes:
        option: The option of the value.
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
        """Whether this is a default."""
        return self.origin.startswith("default")

    def problem(self, message: str, expected: str | None = None) -> Problem:
        """Return a problem with this value, at the place where it was set."""
        value = str(self.value).lower() if isinstance(self.value, bool) else str(self.value)
        got = None if self.value is None else value
        return Problem(self.location, message, got, expected, anchor=self.option.anchor)


class Values:
    """The values of options, one each; others have vLLM's default.

    A key is an option's key in files or vLLM's name for it: `model_name` or `model`.
    """

    def __init__(self, items: Iterable[ResolvedValue] = ()) -> None:
        self._items = {item.option.name: item for item in items}

    def __iter__(self) -> Iterator[ResolvedValue]:
        return iter(self._items.values())

    def find(self, key: str) -> ResolvedValue | None:
        """Return an option's value with its origin; None where it has none."""
        return self._items.get(load_registry().by_key[key].name)

    def get(self, key: str) -> Any:
        """Return an option's value, vLLM's own default where it has none."""
        found = self.find(key)
        return load_registry().by_key[key].engine_default if found is None else found.value

    def location(self, key: str) -> str:
        """Return the location of an option; its variable if it is not set."""
        found = self.find(key)
        return found.location if found else load_registry().by_key[key].name

    def add(self, item: ResolvedValue) -> None:
        """Set an option's value."""
        self._items[item.option.name] = item

    def set(self, key: str, value: Any, origin: str, location: str | None = None) -> None:
        """Set an option's value; its location is the option's variable where it has no other."""
        option = load_registry().by_key[key]
        self.add(ResolvedValue(option, value, origin, location or option.name))

    def discard(self, item: ResolvedValue) -> None:
        """Remove an option's value."""
        self._items.pop(item.option.name, None)

    def problem(self, key: str, message: str, expected: str | None = None) -> Problem:
        """Return a problem with an option, at the place where it was set."""
        unset = ResolvedValue(load_registry().by_key[key], None, "", self.location(key))
        return (self.find(key) or unset).problem(message, expected)

    def merge(self, upper: Values) -> None:
        """Add the values of a source with higher precedence; JSON objects are merged by key."""
        for item in upper:
            lower = self._items.get(item.option.name)
            if lower and isinstance(lower.value, dict) and isinstance(item.value, dict):
                origin = " + ".join(dict.fromkeys((lower.origin, item.origin)))
                value = merge_objects(lower.value, item.value)
                item = dataclasses.replace(item, value=value, origin=origin)
            self.add(item)

    def state(self) -> dict[str, dict[str, Any]]:
        """Return the values by group and field, as the settings are nested."""
        state: dict[str, dict[str, Any]] = {}
        for item in self:
            group, name = item.option.path
            # The worker itself uses the first of several served names.
            is_several = item.option.field is not None and isinstance(item.value, list)
            state.setdefault(group, {})[name] = item.value[0] if is_several else item.value
        return state


@dataclass(slots=True)
class Diagnostics:
    """Problems end a start, warnings are logged."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def merge_objects(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Return both objects merged; plain values of `upper` have precedence."""
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = merge_objects(below, value) if both else value  # type: ignore[arg-type]
    return merged
