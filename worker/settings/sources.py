"""What every source of settings does, and the first of them: the environment."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from worker.errors import Problem
from worker.machine import MachineInfo
from worker.models.image_manifest import ImageManifest, read_manifest
from worker.profile import PROFILES, Profile
from worker.settings.deprecated import ANCHOR, REMOVED, RENAMED, RETIRED, is_set
from worker.settings.groups import SourceSettings
from worker.settings.registry import Option, OptionRegistry
from worker.settings.values import Diagnostics, ResolvedValue, Values
from worker.validation_errors import describe
from worker.vllm_options.overrides import COMMON

ENVIRONMENT = "environment"
BAKED = "baked"

NOT_SETTABLE = "engine-options.md#not-available"

UNSET = frozenset({"", "none", "null"})
"""Texts that mean "not set", in any case; consoles send them for empty fields."""


@dataclass(slots=True)
class Inputs:
    """Inputs and results of the sources.

    Attributes:
        environ: The process's environment.
        registry: All options.
        machine: What defaults are chosen for.
        is_local: Whether that is this machine, where paths can be checked.
        profiles: Folder of the built-in profiles.
        given_profile: A profile as data, instead of any other.
        use_local_models: Whether models in the image and in caches count.
        diagnostics: What is wrong with what was written.
        values: The values of the sources that have run, highest precedence first.
        manifest: What the image holds, once it is read.
        manifest_is_read: Whether it is.
        profile: The profile that was read.
    """

    environ: Mapping[str, str]
    registry: OptionRegistry
    machine: MachineInfo
    is_local: bool = True
    profiles: Path = PROFILES
    given_profile: Mapping[str, Any] | None = None
    use_local_models: bool = True
    diagnostics: Diagnostics = field(default_factory=Diagnostics)
    values: list[Values] = field(default_factory=list)
    manifest: ImageManifest | None = None
    manifest_is_read: bool = False
    profile: Profile | None = None

    def find(self, key: str) -> ResolvedValue | None:
        """Return an option's value in the sources that have run."""
        return next((found for values in self.values if (found := values.find(key))), None)

    def find_manifest(self) -> ImageManifest | None:
        """Return the image's manifest, None if nothing was baked; report a broken manifest."""
        if self.manifest_is_read or not self.use_local_models:
            return self.manifest
        self.manifest_is_read = True
        chosen = self.find("baked_file")
        found = read_manifest(Path(chosen.value) if chosen else SourceSettings().baked_file)
        if isinstance(found, Problem):
            self.diagnostics.problems.append(found)
        else:
            self.manifest = found
        return self.manifest


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
        return values.state()

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Unused: a source is read as a whole, because one name may stand for several fields."""
        raise NotImplementedError


class WrittenSource(SettingsSource):
    """Base of the hand-written sources: names with text or YAML values."""

    origin: str
    """Its name in the provenance, e.g. `environment`, `profile qwen3`."""

    from_form = False
    """Whether a console's form may have filled it in, with 0 for an empty number field."""

    def location(self, name: str) -> str:
        """Return the location of a name."""
        return f"{self.origin}:{name}"

    @abstractmethod
    def known_names(self, written: Mapping[str, Any]) -> dict[str, str]:
        """Return the written name of each variable; report the names that are not settings."""

    def reject(self, *args: Any, **kwargs: Any) -> None:
        """Report a problem; takes what `Problem` takes."""
        self.inputs.diagnostics.problems.append(Problem(*args, **kwargs))

    def warn(self, location: str, message: str, anchor: str | None = None) -> None:
        """Report something that does not prevent a start."""
        self.inputs.diagnostics.warnings.append(Problem(location, message, anchor=anchor))

    def validate(self, written: Mapping[str, Any]) -> Values:
        """Return the typed values; report what is wrong.

        Args:
            written: Values as they were written, by the written name.
        """
        named = self.known_names(written)
        by_variable = {variable: (name, written[name]) for variable, name in named.items()}
        values, direct = Values(), Values()
        for renamed in self._read_renamed(by_variable):
            values.merge(Values([renamed]))
        for option in self._options_of(by_variable):
            for value in self._read_option(option, by_variable):
                first = direct.find(option.key)
                if first is None:
                    direct.add(value)
                elif value.value != first.value:
                    message = f"ignored, because {first.location} is set to another value"
                    self.warn(value.location, message)
        values.merge(direct)
        return values

    def _options_of(self, by_variable: Mapping[str, Any]) -> list[Option]:
        """Return the options that are written under any spelling, in the registry's order."""
        registry = self.inputs.registry
        names = {option.name for v in by_variable if (option := registry.by_variable.get(v))}
        return [option for option in registry.settable() if option.name in names]

    def _read_renamed(self, by_variable: Mapping[str, tuple[str, Any]]) -> Iterator[ResolvedValue]:
        """Yield the values of renamed variables; report these and the removed ones."""
        for variable, item in {**REMOVED, **RENAMED}.items():
            name, raw = by_variable.get(variable, ("", None))
            location = self.location(name)
            renamed = RENAMED.get(variable)
            if not item.is_set(raw):
                continue
            if renamed is None:
                self.warn(location, f"has no effect since {item.since}. {item.instead}", ANCHOR)
                continue
            option = self.inputs.registry.by_vllm_name[renamed.target]
            try:
                value = renamed.convert(raw)
            except ValidationError as error:
                invalid = describe(error.errors(include_url=False)[0])
                self.reject(location, invalid.message, str(raw), invalid.expected, anchor=ANCHOR)
                continue
            self.warn(location, f"is now part of {option.name}, since {item.since}", ANCHOR)
            origin = f"{self.origin} ({variable})"
            if value is not None and (found := self.check(option, value, location, ANCHOR, origin)):
                yield found

    def _read_option(
        self, option: Option, by_variable: Mapping[str, tuple[str, Any]]
    ) -> Iterator[ResolvedValue]:
        """Yield the value of each spelling of an option; the first one counts."""
        for variable in (option.name, *option.aliases):
            name, raw = by_variable.get(variable, ("", None))
            if is_unset(raw, option, from_form=self.from_form):
                continue
            location = self.location(name)
            instead = RETIRED.get(option.key, {}).get(str(raw).strip().lower())
            if instead is not None:
                message = "no longer exists in vLLM"
                self.reject(location, message, str(raw), instead, anchor=option.anchor)
            elif found := self.check(option, raw, location, option.anchor):
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
            message, expected = invalid.message, invalid.expected
            if first["type"] != "invalid_value":
                parts = [part for part in first["loc"][1:] if isinstance(part, int)]
                message += "".join(f" at [{part}]" for part in parts)
                expected = option.expected or expected
            if option.secret and expected:
                expected = expected.replace("items", "characters")
            if first["type"] == "string_pattern_mismatch":
                pattern = option.schema.get("pattern")
                expected = f"text such as {option.example or option.default} ({pattern})"
            got = None if option.secret else str(raw)
            self.reject(location, message, got, expected, invalid.suggestions, anchor)
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
    """Whether a value means unset.

    Args:
        raw: What was written.
        option: The option of the value.
        from_form: It comes from the environment, where forms send 0 for an empty number field.
    """
    if raw is None:
        return True
    if isinstance(raw, str) and raw.strip().lower() in UNSET:
        return raw.strip() not in option.schema.get("enum", ())
    if from_form and option.zero_is_unset and isinstance(raw, str):
        return bool(re.fullmatch(r"0+(\.0*)?", raw.strip()))
    return False


class EnvironmentSource(WrittenSource):
    """The process's environment: variables by their names, among many that are not settings."""

    origin = ENVIRONMENT
    from_form = True

    def location(self, name: str) -> str:
        """Return the variable."""
        return name

    def read(self) -> Values:
        """Return the values of the variables that are settings."""
        return self.validate(self.inputs.environ)

    def known_names(self, written: Mapping[str, Any]) -> dict[str, str]:
        """Return all variables; warn of options of vLLM that the worker does not pass on.

        Unknown names are normal here (see `typos`), and so are common names such as `PORT`.
        """
        for option in self.inputs.registry.options:
            is_ours = option.name in COMMON or option.name in self.inputs.registry.by_variable
            if option.reserved and not is_ours and is_set(written.get(option.name)):
                self.warn(option.name, f"has no effect: {option.reserved}", NOT_SETTABLE)
        return {name: name for name in written}
