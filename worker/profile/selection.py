"""Finds the profile of a model by its repository id."""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

from worker.profile.loader import SUFFIX, BrokenProfileError, load_profile
from worker.profile.model import Profile, Variant
from worker.profile.precision import share_precision


@functools.lru_cache
def find_by_model(model: str, folder: Path) -> Profile | None:
    """Return the built-in profile for a model; None if there is none.

    An exact id wins over a variant of another profile, and both win over a pattern.

    Args:
        model: Repository id, in any case.
        folder: The built-in profiles.
    """
    wanted = model.lower()
    profiles = list(_load_candidates(wanted, folder))
    for matches in (_is_model, _is_variant, _is_pattern):
        found = next((profile for profile in profiles if matches(profile, wanted)), None)
        if found is not None:
            return found
    return None


def _load_candidates(model: str, folder: Path) -> Iterator[Profile]:
    """Yield the profiles that name a model or have a pattern; loading all takes much longer."""
    name = model.encode(errors="replace")
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        text = path.read_bytes().lower()
        if name in text or b"*" in text:
            yield load_profile(path, folder)


def _is_model(profile: Profile, model: str) -> bool:
    ids = [profile.model or "", *profile.about.matches]
    return model in (item.lower() for item in ids)


def _is_variant(profile: Profile, model: str) -> bool:
    return find_variant(profile, model) is not None


def _is_pattern(profile: Profile, model: str) -> bool:
    """Return whether a pattern matches a model in the precision of the profile."""
    own = profile.model
    return any(fnmatch.fnmatchcase(model, item.lower()) for item in profile.about.matches) and (
        own is None or share_precision(own, model)
    )


def find_variant(profile: Profile, model: str) -> Variant | None:
    """Return the variant of a profile with this repository id; None if there is none."""
    wanted = model.lower()
    return next((item for item in profile.about.variants if item.model.lower() == wanted), None)


def find_profile(name: str, profile: Profile | None, profiles: Path) -> Profile | None:
    """Return the profile with facts about a model; None if there is none.

    Args:
        name: Repository id of the model.
        profile: The selected profile.
        profiles: Folder of the built-in profiles.
    """
    if profile is not None:
        ids = (profile.model or "", *profile.about.matches)
        if name.lower() in map(str.lower, ids) or find_variant(profile, name) is not None:
            return profile
    try:
        return find_by_model(name, profiles)
    except BrokenProfileError:
        return None


def all_ids(profiles: Iterable[Profile]) -> Iterator[tuple[str, Profile]]:
    """Yield every repository id that selects a profile."""
    for profile in profiles:
        listed = (profile.model, *profile.about.matches, *(v.model for v in profile.about.variants))
        yield from ((item, profile) for item in listed if item is not None)
