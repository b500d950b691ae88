"""The sources of settings in YAML: the configuration file, the profile, the image's manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError

from worker.errors import Problem
from worker.models.name import read_model_name, served_model_name
from worker.profile import (
    ABOUT,
    PROFILES,
    SUFFIX,
    BrokenProfileError,
    Profile,
    find_by_model,
    load_profile,
    names,
    read_mapping,
)
from worker.settings.deprecated import REMOVED, RENAMED
from worker.settings.groups import SourceSettings
from worker.settings.registry import SOURCES
from worker.settings.sources import BAKED, WrittenSource
from worker.settings.values import Values
from worker.suggest import HINT, suggest

PAGE = "configuration.md"
SOURCES_ANCHOR = f"{PAGE}#precedence"
A_FILE = "the path of a YAML file"
NO_PROFILE = "this model has no profile and therefore no preset"


class YamlSource(WrittenSource):
    """Base of the sources in YAML: settings by their key, every one of which must be known."""

    def known_names(self, written: Mapping[str, Any]) -> dict[str, str]:
        """Return the written key of each variable; report keys that are not settings."""
        known: dict[str, str] = {}
        for name in written:
            key = str(name).lower().replace("-", "_")
            variable, location = key.upper(), self.location(name)
            option = self.inputs.registry.by_file_key.get(key)
            if option is None and variable in {**REMOVED, **RENAMED}:
                known[variable] = name
            elif option is None:
                near = suggest(str(name), self.inputs.registry.by_file_key, HINT)
                self.reject(location, "unknown setting", suggestions=near, anchor=PAGE)
            elif option.reserved is not None:
                self.reject(location, f"cannot be set: {option.reserved}")
            elif option.path[0] == SOURCES:
                message = "can only be set as an environment variable"
                self.reject(location, message, expected=option.name, anchor=option.anchor)
            else:
                is_variable = variable in (option.name, *option.aliases)
                known[variable if is_variable else option.name] = name
        return known


class ConfigFileSource(YamlSource):
    """The configuration file that WORKER_CONFIG names."""

    def read(self) -> Values:
        """Return the values of the file; report a file that cannot be read."""
        chosen = self.inputs.find("worker_config")
        if chosen is None:
            return Values()
        path = Path(chosen.value)
        self.origin = f"file {path.name}"
        message, expected = "no such file", A_FILE
        try:
            written = read_mapping(path)
        except FileNotFoundError:
            pass
        except BrokenProfileError as error:
            message = error.message
            if message == "not a mapping":
                expected = "a mapping of settings, e.g. max_model_len: 8192"
            elif not message.startswith("cannot"):
                expected = ""
        else:
            return self.validate({key: item for key, item in written.items() if key != ABOUT})
        self.reject(chosen.location, message, str(path), expected or None, anchor=SOURCES_ANCHOR)
        return Values()


class ProfileSource(YamlSource):
    """The profile's settings, and its name if it was chosen automatically."""

    origin = "profile"

    def read(self) -> Values:
        """Return the values of the profile; report a profile that cannot be read."""
        if self.inputs.given_profile is not None:
            return self._speculate(self.validate(self.inputs.given_profile))
        named, manifest = self.inputs.find("profile"), self.inputs.find_manifest()
        chosen_by = None
        found: Profile | Problem | None
        if named is not None:
            found = read_profile(named.value, named.location, self.inputs.profiles)
        elif manifest is not None and manifest.profile is not None:
            found = read_profile(manifest.profile, BAKED, self.inputs.profiles)
        else:
            found, chosen_by = self._choose()
        if isinstance(found, Problem):
            self.inputs.diagnostics.problems.append(found)
        if not isinstance(found, Profile):
            return self._speculate(Values())
        self.inputs.profile = found
        self.origin = f"profile {found.name}" + (f" (by {chosen_by})" if chosen_by else "")
        values = self._speculate(self.validate(found.settings))
        if chosen_by:
            values.set("profile", found.name, f"from {chosen_by}", chosen_by)
        return values

    def _speculate(self, values: Values) -> Values:
        """Add the profile's preset for speculative decoding; report why it cannot be used.

        Args:
            values: The values that the profile sets.
        """
        inputs, profile = self.inputs, self.inputs.profile
        asked = inputs.find("speculation") or values.find("speculation")
        if asked is None or not asked.value:
            return values
        target = inputs.registry.by_key["speculative_config"]
        preset = None if profile is None else profile.about.speculation
        written = inputs.find(target.key) or values.find(target.key)
        if profile is None or preset is None or not preset.config:
            reason = _no_preset(profile)
            expected = f"off, or {target.name}, e.g. {target.example}"
        elif written is not None and not {"method", "model"}.isdisjoint(written.value):
            reason = f"{written.location} also chooses a draft"
            expected = f"one of the two; with a preset, {target.name} can only set other fields"
        else:
            origin = f"preset of profile {profile.name}"
            config = dict(preset.config)
            if found := self.check(target, config, asked.location, target.anchor, origin):
                values.add(found)
            return values
        self.reject(asked.location, reason, "on", expected, anchor=asked.option.anchor)
        return values

    def _choose(self) -> tuple[Profile | None, str]:
        """Return the built-in profile of the model, and the setting that names the model."""
        automatic = self.inputs.find("auto_profile")
        manifest, given = self.inputs.find_manifest(), self.inputs.find("model_name")
        model, location = "", BAKED
        if given is not None:
            model, location = served_model_name(_plain_name(given.value)), given.location
        elif manifest is not None:
            model = manifest.settings.get("MODEL_NAME", manifest.model.repo)
        if not model or not (automatic.value if automatic else SourceSettings().auto_profile):
            return None, location
        try:
            return find_by_model(model, self.inputs.profiles), location
        except BrokenProfileError:
            # The profile is automatic: a broken one must not prevent a start.
            return None, location


def _no_preset(profile: Profile | None) -> str:
    """Return why there is no preset for speculative decoding."""
    if profile is None:
        return NO_PROFILE
    if profile.about.task != "generate":
        return f"the profile {profile.name} is not for text generation"
    return f"the profile {profile.name} has no preset"


def _plain_name(text: str) -> str:
    """Return a model's name in its plain form; a wrong one is reported with the other problems."""
    try:
        return read_model_name(text).name
    except PydanticCustomError:
        return text


def read_profile(name: str, location: str, folder: Path = PROFILES) -> Profile | Problem:
    """Read a profile by its name, or by the path of its file.

    Args:
        name: Name of a built-in profile, or a path (anything with a `/` or a YAML ending).
        location: What named it, for the problem.
        folder: Where the built-in profiles are.
    """
    is_path = "/" in name or name.endswith((SUFFIX, ".yml"))
    path = Path(name) if is_path else folder / f"{name}{SUFFIX}"
    try:
        return load_profile(path, folder)
    except FileNotFoundError:
        if is_path:
            return Problem(location, "no such file", name, A_FILE, anchor=SOURCES_ANCHOR)
    except BrokenProfileError as error:
        return Problem(location, error.message, str(error.path), anchor="profiles.md")
    return Problem(
        location,
        "no such profile",
        got=name,
        expected="the name of a built-in profile or the path of a YAML file",
        suggestions=suggest(name, names(folder), HINT),
        anchor="profiles.md",
    )


class ImageManifestSource(YamlSource):
    """The settings that `worker bake` recorded in the image; `model_location` places the model."""

    origin = BAKED

    def read(self) -> Values:
        """Return the recorded values."""
        manifest = self.inputs.find_manifest()
        written: Mapping[str, Any] = {} if manifest is None else manifest.settings
        return self.validate({name.lower(): value for name, value in written.items()})
