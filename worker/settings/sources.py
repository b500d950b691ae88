"""Which sources a configuration has: the image, a profile, a file, the environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.errors import Problem
from worker.models.image_manifest import ImageManifest, read_manifest
from worker.models.name import served_model_name
from worker.profile import BrokenProfileError, Profile, find_by_model
from worker.settings.catalogue import Catalogue
from worker.settings.files import profile_layer, read_file, read_profile
from worker.settings.groups import SourceSettings
from worker.settings.model_location import BAKED, baked_layer
from worker.settings.model_name import read_model_name
from worker.settings.rejection import Rejected
from worker.settings.resolve import ENVIRONMENT, Findings, Layer, Resolved, merge_layers


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that sets values.

    Attributes:
        layers: Lowest precedence first; the environment is the last.
        baked: The model in the image, if there is one.
        profile: The profile, if there is one.
        chosen: How the profile was chosen, if nobody named it: its name, with the setting that it
            follows from.
    """

    layers: Sequence[Layer]
    baked: ImageManifest | None
    profile: Profile | None
    chosen: Resolved | None


def collect_sources(
    environ: Mapping[str, str],
    profile: Mapping[str, Any] | None,
    profiles: Path,
    catalogue: Catalogue,
    findings: Findings,
    *,
    use_baked: bool,
) -> Sources:
    """Read all sources; the environment names the others.

    Args:
        environ: The process's environment.
        profile: A profile as data, instead of any other.
        profiles: Folder of the built-in profiles.
        catalogue: All options.
        findings: Gets what cannot be read.
        use_baked: Whether the model in the image counts.
    """
    environment = Layer(ENVIRONMENT, environ, is_environment=True)
    # Their own problems are found when the environment is read as a whole.
    named = merge_layers([environment], _sources_only(catalogue), Findings())
    baked = _find_baked(named, findings) if use_baked else None
    lower = [baked_layer(baked)] if baked is not None else []
    upper = [*_read_config_file(named, findings), environment]
    if profile is not None:
        return Sources([*lower, Layer("profile", profile), *upper], baked, None, None)
    found = _named_profile(named, baked, profiles, findings)
    chosen: Resolved | None = None
    if found is None and "PROFILE" not in named and _is_automatic(named):
        found, chosen = _choose_profile([*lower, *upper], baked, profiles, catalogue)
    if found is None:
        return Sources([*lower, *upper], baked, None, None)
    layer = profile_layer(found, None if chosen is None else f"by {chosen.place}")
    return Sources([*lower, layer, *upper], baked, found, chosen)


def _find_baked(named: Mapping[str, Resolved], findings: Findings) -> ImageManifest | None:
    """Return the manifest of the image's model; None where nothing was baked."""
    chosen = named.get("BAKED_FILE")
    path = Path(chosen.value) if chosen else SourceSettings().baked_file
    found = read_manifest(path)
    if isinstance(found, Problem):
        findings.problems.append(found)
        return None
    return found


def _read_config_file(named: Mapping[str, Resolved], findings: Findings) -> list[Layer]:
    chosen = named.get("WORKER_CONFIG")
    if chosen is None:
        return []
    found = read_file(Path(chosen.value), chosen.place)
    if isinstance(found, Problem):
        findings.problems.append(found)
        return []
    return [found]


def _named_profile(
    named: Mapping[str, Resolved], baked: ImageManifest | None, profiles: Path, findings: Findings
) -> Profile | None:
    """Return the profile that the environment names, or the image."""
    if chosen := named.get("PROFILE"):
        found = read_profile(chosen.value, chosen.place, profiles)
    elif baked is not None and baked.profile is not None:
        found = read_profile(baked.profile, BAKED, profiles)
    else:
        return None
    if isinstance(found, Problem):
        findings.problems.append(found)
        return None
    return found


def _is_automatic(named: Mapping[str, Resolved]) -> bool:
    chosen = named.get("AUTO_PROFILE")
    return SourceSettings().auto_profile if chosen is None else bool(chosen.value)


def _choose_profile(
    layers: Sequence[Layer], baked: ImageManifest | None, profiles: Path, catalogue: Catalogue
) -> tuple[Profile | None, Resolved | None]:
    """Return the built-in profile of the model that these layers name."""
    model = catalogue.by_engine_key["model"]
    given = merge_layers(layers, catalogue, Findings()).get(model.name)
    if given is not None:
        name, place = served_model_name(_plain_name(given.value)), given.place
    elif baked is not None:
        name, place = baked.model.repo, BAKED
    else:
        return None, None
    try:
        profile = find_by_model(name, profiles)
    except BrokenProfileError:
        # Nobody asked for a profile, so that a broken one is no reason not to start.
        return None, None
    if profile is None:
        return None, None
    option = next(option for option in catalogue.options if option.name == "PROFILE")
    return profile, Resolved(option, profile.name, f"from {place}", place)


def _plain_name(text: str) -> str:
    """Return a model's name in its plain form; a wrong one is reported with the other problems."""
    try:
        return read_model_name(text).name
    except Rejected:
        return text


def _sources_only(catalogue: Catalogue) -> Catalogue:
    options = tuple(option for option in catalogue.options if option.category == "Configuration")
    return Catalogue(
        options=options,
        by_variable=catalogue.by_variable,
        by_key=catalogue.by_key,
        by_engine_key=catalogue.by_engine_key,
        version=catalogue.version,
        engine_variables=catalogue.engine_variables,
    )
