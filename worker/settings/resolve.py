"""Layers of settings, merged into one value per option, each with where it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.errors import Problem
from worker.settings.catalogue import Catalogue
from worker.settings.deprecated import REMOVED, RENAMED, RETIRED, Renamed
from worker.settings.names import PAGE
from worker.settings.parse import is_unset, parse_boolean, parse_integer, parse_string, parse_value
from worker.settings.rejection import Rejected
from worker.suggest import HINT, suggest
from worker.vllm_options.option import OBJECT_KINDS, Option
from worker.vllm_options.overrides import COMMON

ENVIRONMENT = "environment"
REMOVED_ANCHOR = f"{PAGE}#removed-and-renamed-variables"
NOT_SETTABLE = "engine-options.md#not-settable"
LEGACY_PARSERS = {"boolean": parse_boolean, "integer": parse_integer, "string": parse_string}


@dataclass(frozen=True, slots=True)
class Layer:
    """One source of settings.

    Attributes:
        source: Its name in the provenance, e.g. `profile qwen3`, `environment`.
        values: What was written, by the name that was written.
        is_environment: It is the process's environment: foreign names are normal, and forms send
            zeros for empty fields.
    """

    source: str
    values: Mapping[str, Any]
    is_environment: bool = False

    def place(self, name: str) -> str:
        """Return where a reader finds a name of this layer."""
        return name if self.is_environment else f"{self.source}:{name}"


@dataclass(frozen=True, slots=True)
class Resolved:
    """One option's value and its origin.

    Attributes:
        option: What it is the value of.
        value: Typed.
        source: Layer or layers that it came from.
        place: What the user typed to set it, for problems that are found later.
    """

    option: Option
    value: Any
    source: str
    place: str


@dataclass(slots=True)
class Findings:
    """What is wrong (`problems`) and what is worth a word (`warnings`)."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def merge_layers(
    layers: Sequence[Layer], catalogue: Catalogue, findings: Findings
) -> dict[str, Resolved]:
    """Resolve every option that some layer sets.

    Args:
        layers: Lowest precedence first.
        catalogue: All options.
        findings: Gets everything that is wrong; nothing is raised.

    Returns:
        By the option's name.
    """
    merged: dict[str, Resolved] = {}
    for layer in layers:
        for given in _read_layer(layer, catalogue, findings):
            merged[given.option.name] = _combine(merged.get(given.option.name), given)
    return merged


def _combine(lower: Resolved | None, upper: Resolved) -> Resolved:
    """Let the upper value win; JSON objects are merged member by member."""
    if lower is None or upper.option.kind not in OBJECT_KINDS:
        return upper
    if not (isinstance(lower.value, dict) and isinstance(upper.value, dict)):
        return upper
    sources = [lower.source] if lower.source == upper.source else [lower.source, upper.source]
    value = deep_merge(lower.value, upper.value)
    return Resolved(upper.option, value, " + ".join(sources), upper.place)


def deep_merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Return both objects in one, `upper` winning wherever both have a plain value."""
    result = dict(lower)
    for key, value in upper.items():
        below = result.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        result[key] = deep_merge(below, value) if both else value  # type: ignore[arg-type]
    return result


def _read_layer(layer: Layer, catalogue: Catalogue, findings: Findings) -> Iterator[Resolved]:
    written = _known_names(layer, catalogue, findings)
    yield from _read_legacy(layer, written, catalogue, findings)
    for option in catalogue.settable():
        given: Resolved | None = None
        for variable in (option.name, *option.aliases):
            name = written.get(variable)
            if name is None or is_unset(layer.values[name], option, from_form=layer.is_environment):
                continue
            value = _parse(layer, name, option, findings)
            if value is None:
                continue
            if given is None:
                given = Resolved(option, value, layer.source, layer.place(name))
                yield given
            elif value != given.value:
                ignored = f"ignored, because {given.place} is set to another value"
                findings.warnings.append(Problem(layer.place(name), ignored))


def _known_names(layer: Layer, catalogue: Catalogue, findings: Findings) -> dict[str, str]:
    """Map variables to the names that this layer writes them with.

    Unknown and reserved names of a file are problems. In the environment unknown names are normal
    (see `names.py`), and reserved ones mostly belong to the platform (`PORT`).
    """
    if layer.is_environment:
        _report_reserved(layer, catalogue, findings)
        return {name: name for name in layer.values}
    written: dict[str, str] = {}
    for name in layer.values:
        key = str(name).lower().replace("-", "_")
        option = catalogue.by_key.get(key)
        if option is None and key.upper() in {**RENAMED, **REMOVED}:
            written[key.upper()] = name
        elif option is None:
            near = suggest(key, catalogue.by_key, HINT)
            findings.problems.append(
                Problem(layer.place(name), "unknown setting", suggestions=near, anchor=PAGE)
            )
        elif option.reserved is not None:
            message = f"cannot be set: {option.reserved}"
            findings.problems.append(Problem(layer.place(name), message))
        elif option.category == "Configuration":
            message = "can only be set as an environment variable"
            findings.problems.append(
                Problem(layer.place(name), message, expected=option.name, anchor=option.anchor)
            )
        else:
            alias = key.upper() in (option.name, *option.aliases)
            written[key.upper() if alias else option.name] = name
    return written


def _report_reserved(layer: Layer, catalogue: Catalogue, findings: Findings) -> None:
    """Warn of options of vLLM that the worker does not pass on, unless their names are common."""
    for option in catalogue.options:
        name = option.name
        if option.reserved is None or name in COMMON or name in catalogue.by_variable:
            continue
        if _says_something(layer.values.get(name), None):
            message = f"has no effect: {option.reserved}"
            findings.warnings.append(Problem(name, message, anchor=NOT_SETTABLE))


def _parse(layer: Layer, name: str, option: Option, findings: Findings) -> Any:
    """Return the typed value, or None after reporting why there is none."""
    raw = layer.values[name]
    retired = RETIRED.get(option.engine_key or "", {}).get(str(raw).strip().lower())
    try:
        if retired is not None:
            raise Rejected("no longer exists in vLLM", retired)
        return parse_value(raw, option)
    except Rejected as rejected:
        findings.problems.append(
            Problem(
                layer.place(name),
                rejected.message,
                got=None if option.secret else str(raw),
                expected=rejected.expected,
                suggestions=rejected.suggestions,
                anchor=option.anchor,
            )
        )
        return None


def _read_legacy(
    layer: Layer, written: Mapping[str, str], catalogue: Catalogue, findings: Findings
) -> Iterator[Resolved]:
    """Yield what renamed variables still set, and report those and the removed ones."""
    for variable, removed in REMOVED.items():
        raw = layer.values.get(written.get(variable, ""))
        if not _says_something(raw, removed.default):
            continue
        message = f"has no effect since {removed.since}. {removed.instead}"
        findings.warnings.append(
            Problem(layer.place(written[variable]), message, anchor=REMOVED_ANCHOR)
        )
    for variable, renamed in RENAMED.items():
        raw = layer.values.get(written.get(variable, ""))
        if not _says_something(raw, renamed.default) or _says_zero(raw, renamed):
            continue
        option = catalogue.by_engine_key[renamed.target]
        place = layer.place(written[variable])
        try:
            value = renamed.convert(LEGACY_PARSERS[renamed.kind](raw, option))
            value = None if value is None else parse_value(value, option)
        except Rejected as rejected:
            findings.problems.append(
                Problem(place, rejected.message, str(raw), rejected.expected, anchor=REMOVED_ANCHOR)
            )
            continue
        message = f"is now part of {option.name}, since {renamed.since}"
        findings.warnings.append(Problem(place, message, anchor=REMOVED_ANCHOR))
        if value is not None:
            yield Resolved(option, value, f"{layer.source} ({variable})", place)


def _says_something(raw: Any, default: str | None) -> bool:
    """Whether a value differs from what forms of the original send untouched."""
    text = str(raw).strip().lower() if raw is not None else ""
    if text in ("", "none", "null"):
        return False
    if default is None:
        return True
    try:
        return float(text) != float(default)
    except ValueError:
        return text != default.lower()


def _says_zero(raw: Any, renamed: Renamed) -> bool:
    return renamed.kind == "integer" and str(raw).strip() in ("0", "0.0")
