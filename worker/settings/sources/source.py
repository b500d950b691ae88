"""What every source of settings does: read what was written, validate it, remember its place."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from worker.errors import Problem
from worker.machine import MachineInfo
from worker.models.image_manifest import ImageManifest
from worker.profile import Profile
from worker.settings.deprecated import REMOVED, RENAMED, RETIRED
from worker.settings.option import Option
from worker.settings.registry import OptionRegistry
from worker.settings.sources.renamed import (
    ANCHOR,
    LEGACY_NAMES,
    TYPES,
    is_empty_field,
    is_set,
)
from worker.settings.values import Diagnostics, ResolvedValue, Values, merge_values, to_state
from worker.validation_errors import describe

UNSET = frozenset({"", "none", "null"})
"""Texts that mean "not set", in any case; consoles send them for empty fields."""


@dataclass(slots=True)
class Inputs:
    """What the sources read from, and what they find.

    Attributes:
        environ: The process's environment.
        registry: All options.
        machine: What defaults are chosen for.
        profiles: Folder of the built-in profiles.
        given_profile: A profile as data, instead of any other.
        use_image: Whether the model in the image counts.
        diagnostics: What is wrong with what was written.
        values: The values of the sources that have run, highest precedence first.
        manifest: What the image holds, once it is read.
        profile: The profile that was read.
    """

    environ: Mapping[str, str]
    registry: OptionRegistry
    machine: MachineInfo
    profiles: Path
    given_profile: Mapping[str, Any] | None
    use_image: bool
    diagnostics: Diagnostics = field(default_factory=Diagnostics)
    values: list[Values] = field(default_factory=list)
    manifest: ImageManifest | None = None
    profile: Profile | None = None

    def find(self, name: str) -> ResolvedValue | None:
        """Return an option's value in the sources that have run."""
        return next((values[name] for values in self.values if name in values), None)


class SettingsSource(PydanticBaseSettingsSource):
    """Base of all sources.

    A source validates what it read by itself. A problem then names the place where the value was
    written, and `current_state` holds typed values.

    Args:
        settings_cls: The settings.
        inputs: What all sources share.
    """

    def __init__(self, settings_cls: type[BaseSettings], inputs: Inputs) -> None:
        super().__init__(settings_cls)
        self.inputs = inputs

    @abstractmethod
    def read(self) -> Values:
        """Return this source's values."""

    def __call__(self) -> dict[str, Any]:
        """Return the values by group and field, for pydantic-settings."""
        values = self.read()
        self.inputs.values.append(values)
        return to_state(values)

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Unused: a source is read as a whole, because one name may stand for several fields."""
        raise NotImplementedError


class WrittenSource(SettingsSource):
    """Base of the sources that people write: names with text or YAML values."""

    from_form = False
    """Whether a console's form may have filled it in, with 0 for an empty number field."""

    @property
    @abstractmethod
    def origin(self) -> str:
        """Its name in the provenance, e.g. `environment`, `profile qwen3`."""

    def location(self, name: str) -> str:
        """Return where a reader finds a name."""
        return f"{self.origin}:{name}"

    def known_names(self, written: Mapping[str, Any]) -> dict[str, str]:
        """Return the written name of each variable; report the names that are not settings."""
        raise NotImplementedError

    def validate(self, written: Mapping[str, Any]) -> Values:
        """Return the typed values; report what is wrong.

        Args:
            written: Values as they were written, by the written name.
        """
        by_variable = {
            variable: (name, written[name]) for variable, name in self.known_names(written).items()
        }
        legacy = {name: by_variable[name] for name in LEGACY_NAMES if name in by_variable}
        renamed = list(self._read_renamed(legacy))
        direct: Values = {}
        for option in self.inputs.registry.settable():
            for value in self._read_option(option, by_variable):
                first = direct.setdefault(option.name, value)
                if value.value != first.value:
                    message = f"ignored, because {first.location} is set to another value"
                    self.inputs.diagnostics.warnings.append(Problem(value.location, message))
        return merge_values([*renamed, direct])

    def _read_renamed(self, written: Mapping[str, tuple[str, Any]]) -> Iterator[Values]:
        """Yield what renamed variables set, each by itself; report these and the removed ones."""
        diagnostics = self.inputs.diagnostics
        for variable, (name, raw) in written.items():
            removed, renamed = REMOVED.get(variable), RENAMED.get(variable)
            location = self.location(name)
            if removed is not None and is_set(raw, removed.default):
                message = f"has no effect since {removed.since}. {removed.instead}"
                diagnostics.warnings.append(Problem(location, message, anchor=ANCHOR))
            if renamed is None or not is_set(raw, renamed.default) or is_empty_field(raw, renamed):
                continue
            option = self.inputs.registry.by_vllm_name[renamed.target]
            try:
                value = renamed.convert(TypeAdapter(TYPES[renamed.kind]).validate_python(raw))
            except ValidationError as error:
                invalid = describe(error.errors(include_url=False)[0])
                diagnostics.problems.append(
                    Problem(location, invalid.message, str(raw), invalid.expected, anchor=ANCHOR)
                )
                continue
            message = f"is now part of {option.name}, since {renamed.since}"
            diagnostics.warnings.append(Problem(location, message, anchor=ANCHOR))
            origin = f"{self.origin} ({variable})"
            if value is not None and (
                resolved := self.check(option, value, location, ANCHOR, origin)
            ):
                yield {option.name: resolved}

    def _read_option(
        self, option: Option, by_variable: Mapping[str, tuple[str, Any]]
    ) -> Iterator[ResolvedValue]:
        """Yield the value of each name of an option that is written; the first one counts."""
        for variable in (option.name, *option.aliases):
            if variable not in by_variable:
                continue
            name, raw = by_variable[variable]
            if is_unset(raw, option, from_form=self.from_form):
                continue
            location = self.location(name)
            retired = RETIRED.get(option.engine_key or "", {}).get(str(raw).strip().lower())
            if retired is not None:
                message = "no longer exists in vLLM"
                problem = Problem(location, message, str(raw), retired, anchor=option.anchor)
                self.inputs.diagnostics.problems.append(problem)
                continue
            found = self.check(option, raw, location, option.anchor)
            if found is not None:
                yield found

    def check(
        self, option: Option, raw: Any, location: str, anchor: str, origin: str | None = None
    ) -> ResolvedValue | None:
        """Return one typed value; None after reporting why there is none."""
        try:
            value = validate_value(self.settings_cls, option, raw)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            invalid = describe(first)
            item = "".join(f" at [{part}]" for part in first["loc"][1:] if isinstance(part, int))
            is_own = first["type"] == "invalid_value"
            expected = invalid.expected if is_own else option.expected or invalid.expected
            if option.secret and expected:
                expected = expected.replace("items", "characters")
            if first["type"] == "string_pattern_mismatch":
                pattern = option.schema.get("pattern")
                expected = f"text such as {option.example or option.default} ({pattern})"
            problem = Problem(
                location,
                invalid.message + ("" if is_own else item),
                got=None if option.secret else str(raw),
                expected=expected,
                suggestions=invalid.suggestions,
                anchor=anchor,
            )
            self.inputs.diagnostics.problems.append(problem)
            return None
        return ResolvedValue(option, value, origin or self.origin, location)


def validate_value(settings_cls: type[BaseSettings], option: Option, raw: Any) -> Any:
    """Return the typed value of one option.

    Raises:
        ValidationError: If the option does not accept it.
    """
    group, name = option.path
    model: Any = settings_cls.model_fields[group].annotation
    return getattr(model.model_validate({name: raw}), name)


def is_unset(raw: Any, option: Option, *, from_form: bool) -> bool:
    """Whether a value means that nobody set it.

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
