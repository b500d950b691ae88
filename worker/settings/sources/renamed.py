"""Renamed and removed variables: they still take effect, or are reported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from worker.errors import Problem
from worker.settings.deprecated import REMOVED, RENAMED, Renamed
from worker.settings.option import Option
from worker.settings.registry import OptionRegistry
from worker.settings.values import Diagnostics, ResolvedValue, Values
from worker.validation_errors import describe

ANCHOR = "configuration.md#removed-and-renamed-variables"
LEGACY_NAMES = (*REMOVED, *RENAMED)
TYPES: Mapping[str, Any] = {"boolean": bool, "integer": int, "string": str}


class Checker(Protocol):
    """The source that a name was written in."""

    @property
    def origin(self) -> str:
        """Its name in the provenance."""

    def location(self, name: str) -> str:
        """Return where a reader finds a name."""

    def check(
        self, option: Option, raw: Any, location: str, anchor: str, origin: str | None = None
    ) -> ResolvedValue | None:
        """Return one typed value; None after reporting why there is none."""


def read_renamed(
    written: Mapping[str, tuple[str, Any]],
    source: Checker,
    registry: OptionRegistry,
    diagnostics: Diagnostics,
) -> list[Values]:
    """Return what renamed variables set, each by itself; report these and the removed ones.

    Args:
        written: Written name and value, by variable.
        source: Where they were written.
        registry: All options.
        diagnostics: Gets the warnings and problems.
    """
    found: list[Values] = []
    for variable, (name, raw) in written.items():
        removed, renamed = REMOVED.get(variable), RENAMED.get(variable)
        location = source.location(name)
        if removed is not None and is_set(raw, removed.default):
            message = f"has no effect since {removed.since}. {removed.instead}"
            diagnostics.warnings.append(Problem(location, message, anchor=ANCHOR))
        if renamed is None or not is_set(raw, renamed.default) or _is_empty_field(raw, renamed):
            continue
        option = registry.by_vllm_name[renamed.target]
        try:
            value = renamed.convert(TypeAdapter(TYPES[renamed.kind]).validate_python(raw))
        except ValidationError as error:
            invalid = describe(error.errors(include_url=False)[0])
            problem = Problem(location, invalid.message, str(raw), invalid.expected, anchor=ANCHOR)
            diagnostics.problems.append(problem)
            continue
        message = f"is now part of {option.name}, since {renamed.since}"
        diagnostics.warnings.append(Problem(location, message, anchor=ANCHOR))
        if value is not None:
            origin = f"{source.origin} ({variable})"
            resolved = source.check(option, value, location, ANCHOR, origin)
            found += [] if resolved is None else [{option.name: resolved}]
    return found


def is_set(raw: Any, default: str | None) -> bool:
    """Whether a value differs from what the original worker's form sends untouched."""
    text = str(raw).strip().lower() if raw is not None else ""
    if text in ("", "none", "null"):
        return False
    if default is None:
        return True
    try:
        return float(text) != float(default)
    except ValueError:
        return text != default.lower()


def _is_empty_field(raw: Any, renamed: Renamed) -> bool:
    return renamed.kind == "integer" and str(raw).strip() in ("0", "0.0")
