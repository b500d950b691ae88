"""The profile: named by PROFILE or by the image, or chosen by the model."""

from __future__ import annotations

from pathlib import Path

from pydantic_core import PydanticCustomError

from worker.errors import Problem
from worker.models.name import served_model_name
from worker.profile import (
    PROFILES,
    SUFFIX,
    BrokenProfileError,
    Profile,
    find_by_model,
    load_profile,
    names,
)
from worker.settings.groups import SourceSettings
from worker.settings.model_name import read_model_name
from worker.settings.sources.image_manifest import BAKED, find_manifest
from worker.settings.sources.yaml_source import A_FILE, SOURCES_ANCHOR, YamlSource
from worker.settings.values import ResolvedValue, Values
from worker.suggest import HINT, suggest

PROFILES_ANCHOR = "profiles.md"
CONFIG = "speculative_config"
NO_PROFILE = "there is no profile of this model, and so no preset"


class ProfileSource(YamlSource):
    """The profile's settings; also its name, where nobody named it."""

    _origin = "profile"

    @property
    def origin(self) -> str:
        """The profile's name, with how it was chosen."""
        return self._origin

    def read(self) -> Values:
        """Return the values of the profile; report a profile that cannot be read."""
        if self.inputs.given_profile is not None:
            values = self.validate(self.inputs.given_profile)
            return {**values, **self._speculate(values)}
        named, manifest = self.inputs.find("PROFILE"), find_manifest(self.inputs)
        chosen: Values = {}
        if named is not None:
            profile = self._read_named(named.value, named.location)
        elif manifest is not None and manifest.profile is not None:
            profile = self._read_named(manifest.profile, BAKED)
        else:
            profile, chosen = self._choose()
        if profile is None:
            return self._speculate({})
        self.inputs.profile = profile
        location = next((item.location for item in chosen.values()), None)
        self._origin = f"profile {profile.name}" + (f" (by {location})" if location else "")
        values = self.validate(profile.settings)
        return {**values, **self._speculate(values), **chosen}

    def _speculate(self, own: Values) -> Values:
        """Return the profile's preset for speculative decoding; report why it cannot be used.

        Args:
            own: The values that the profile sets.
        """
        registry, profile = self.inputs.registry, self.inputs.profile
        option, target = registry.by_variable["SPECULATION"], registry.by_vllm_name[CONFIG]
        asked = self.inputs.find(option.name) or own.get(option.name)
        if asked is None or not asked.value:
            return {}
        preset = None if profile is None else profile.about.speculation
        written = self.inputs.find(target.name) or own.get(target.name)
        if profile is None or preset is None or not preset.config:
            reason = f"the profile {profile.name} has no preset" if profile else NO_PROFILE
            advice = f"off, or {target.name}, e.g. {target.example}"
        elif written is not None and not {"method", "model"}.isdisjoint(written.value):
            reason = f"{written.location} chooses a draft, too"
            advice = f"one of the two; beside a preset, {target.name} may set other members"
        else:
            origin = f"preset of profile {profile.name}"
            config = dict(preset.config)
            found = self.check(target, config, asked.location, target.anchor, origin=origin)
            return {} if found is None else {target.name: found}
        problem = Problem(asked.location, reason, "on", advice, anchor=option.anchor)
        self.inputs.diagnostics.problems.append(problem)
        return {}

    def _read_named(self, name: str, location: str) -> Profile | None:
        found = read_profile(name, location, self.inputs.profiles)
        if isinstance(found, Problem):
            self.inputs.diagnostics.problems.append(found)
            return None
        return found

    def _choose(self) -> tuple[Profile | None, Values]:
        """Return the built-in profile of the model, and PROFILE as if it had been set."""
        automatic = self.inputs.find("AUTO_PROFILE")
        if not (SourceSettings().auto_profile if automatic is None else automatic.value):
            return None, {}
        manifest = find_manifest(self.inputs)
        given = self.inputs.find("MODEL_NAME")
        if given is not None:
            model, location = served_model_name(_plain_name(given.value)), given.location
        elif manifest is not None:
            model, location = manifest.settings.get("MODEL_NAME", manifest.model.repo), BAKED
        else:
            return None, {}
        try:
            profile = find_by_model(model, self.inputs.profiles)
        except BrokenProfileError:
            return None, {}  # Nobody asked for a profile: a broken one must not prevent a start.
        if profile is None:
            return None, {}
        option = self.inputs.registry.by_variable["PROFILE"]
        value = ResolvedValue(option, profile.name, f"from {location}", location)
        return profile, {option.name: value}


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
        return Problem(location, error.message, str(error.path), anchor=PROFILES_ANCHOR)
    return Problem(
        location,
        "no such profile",
        got=name,
        expected="the name of a built-in profile or the path of a YAML file",
        suggestions=suggest(name, names(folder), HINT),
        anchor=PROFILES_ANCHOR,
    )
