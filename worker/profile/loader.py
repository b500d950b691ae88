"""Loads profiles, the built-in ones by name and others by path, with the profiles they extend."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from worker.errors import WorkerError
from worker.profile.model import ModelInfo, Profile
from worker.profile.precision import share_precision
from worker.yaml_reader import parse_yaml

SUFFIX = ".yaml"
ABOUT, EXTENDS = "about", "extends"
FAMILIES = "families"
"""Subfolder of base profiles, which cannot be selected."""

OWN = ("title", "summary", "matches", "variants", "notes", "checked")
"""Parts of a profile that are not inherited."""

MAX_EXTENDS_DEPTH = 5
"""Maximum number of profiles in one chain of `extends`; a longer chain is a cycle."""


class BrokenProfileError(WorkerError):
    """A profile cannot be read or is invalid.

    Args:
        path: The invalid file; it can be a base of the requested profile.
        message: What is wrong, without a full stop.
    """

    def __init__(self, path: Path, message: str) -> None:
        self.path = path
        self.message = message
        super().__init__(f"{path}: {message}")


def builtin_folder() -> Path:
    """Return the folder of the built-in profiles: in the package, or next to it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "profiles"
    return packaged if packaged.is_dir() else package.parent / "profiles"


PROFILES = builtin_folder()
"""Folder of the built-in profiles."""


def names(folder: Path) -> list[str]:
    """Return the names of all profiles that can be selected, sorted."""
    return sorted(path.stem for path in folder.glob(f"*{SUFFIX}"))


@functools.cache
def load_all(folder: Path) -> tuple[Profile, ...]:
    """Read all profiles of a folder, once per process.

    Raises:
        BrokenProfileError: One of them is invalid.
    """
    return tuple(load_profile(folder / f"{name}{SUFFIX}", folder) for name in names(folder))


def load_profile(path: Path, folder: Path) -> Profile:
    """Read one profile with its bases.

    Args:
        path: Its file.
        folder: The built-in profiles, which any profile may extend.

    Raises:
        FileNotFoundError: There is no such file.
        BrokenProfileError: It or one of its bases is invalid.
    """
    return _load(path, folder, ())


def _load(path: Path, folder: Path, chain: tuple[Path, ...]) -> Profile:
    if len(chain) >= MAX_EXTENDS_DEPTH:
        raise BrokenProfileError(path, "extends itself, or a chain of more than four others")
    data = read_mapping(path)
    name = path.stem
    base = _load_base(data.pop(EXTENDS, None), path, folder, (*chain, path))
    described = data.pop(ABOUT, None) or {}
    if not isinstance(described, Mapping):
        raise BrokenProfileError(path, f"{ABOUT} is not a mapping")
    settings, origins = dict(data), dict.fromkeys(data, name)
    about = dict(described)
    if base is not None:
        settings = {**base.settings, **data}
        origins = {**base.origins, **origins}
        about = _inherit(base.about, about)
    try:
        checked = ModelInfo.model_validate(about)
    except ValidationError as error:
        raise BrokenProfileError(path, describe(error)) from None
    profile = Profile(name=name, settings=settings, about=checked, origins=origins)
    _check_matches(path, profile)
    return profile


def _check_matches(path: Path, profile: Profile) -> None:
    """Reject a match in another precision, because its weights have another size."""
    own = profile.model
    for item in profile.about.matches:
        if own is not None and "*" not in item and not share_precision(own, item):
            advice = "list it under variants, with its own precision and weights"
            raise BrokenProfileError(
                path, f"{ABOUT}.matches: {item} has another precision than {own}; {advice}"
            )


def _load_base(name: Any, path: Path, folder: Path, chain: tuple[Path, ...]) -> Profile | None:
    if name is None:
        return None
    for parent in (path.parent, folder):
        base = parent / f"{name}{SUFFIX}"
        if base.is_file():
            return _load(base, folder, chain)
    raise BrokenProfileError(path, f"{EXTENDS}: no such profile: {name}")


def _inherit(base: ModelInfo, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description merged with its base: facts are collected, other parts are merged."""
    inherited = base.model_dump(exclude=set(OWN), exclude_unset=True)
    facts = [*inherited.get("facts", ()), *(own.get("facts") or ())]
    hardware = {**inherited.get("hardware", {}), **(own.get("hardware") or {})}
    merged = {**inherited, **own, "facts": facts, "hardware": hardware}
    if isinstance(own.get("speculation"), Mapping):
        merged["speculation"] = {**(inherited.get("speculation") or {}), **own["speculation"]}
    return merged


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping; an empty file is an empty mapping.

    Raises:
        FileNotFoundError: There is no such file.
        BrokenProfileError: It cannot be read or holds something else.
    """
    try:
        values: Any = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise BrokenProfileError(path, f"cannot be read: {reason}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark is not None else ""
        detail = getattr(error, "problem", None) or "syntax error"
        raise BrokenProfileError(path, f"not valid YAML{line}: {detail}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise BrokenProfileError(path, "not a mapping")
    return values


def describe(error: ValidationError) -> str:
    """Return the first error of a description, with its place."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in (ABOUT, *first["loc"]))
    more = error.error_count() - 1
    others = f" (and {more} more)" if more else ""
    return f"{place}: {first['msg'][:1].lower()}{first['msg'][1:]}{others}"
