"""Reads the two kinds of YAML file that hold settings: profiles and the configuration file."""

from __future__ import annotations

from pathlib import Path

from worker.errors import Problem
from worker.profile import (
    ABOUT,
    PROFILES,
    SUFFIX,
    BrokenProfileError,
    Profile,
    load_profile,
    names,
    read_mapping,
)
from worker.settings.resolve import Layer
from worker.suggest import HINT, suggest

SOURCES_ANCHOR = "configuration.md#how-values-are-found"
PROFILES_ANCHOR = "profiles.md"
A_FILE = "the path of a YAML file"


def read_file(path: Path, variable: str) -> Layer | Problem:
    """Read the configuration file.

    Args:
        path: The YAML file.
        variable: Which variable named it, for the problem.
    """
    try:
        values = read_mapping(path)
    except FileNotFoundError:
        return Problem(variable, "no such file", str(path), A_FILE, anchor=SOURCES_ANCHOR)
    except BrokenProfileError as error:
        expected = A_FILE if error.message.startswith("cannot") else None
        if error.message == "not a mapping":
            expected = "a mapping of settings, e.g. max_model_len: 8192"
        return Problem(variable, error.message, str(path), expected, anchor=SOURCES_ANCHOR)
    settings = {key: value for key, value in values.items() if key != ABOUT}
    return Layer(f"file {path.name}", settings)


def read_profile(name: str, variable: str, folder: Path = PROFILES) -> Profile | Problem:
    """Read a profile by its name, or by the path of its file.

    Args:
        name: Name of a built-in profile, or a path (anything with a `/` or a YAML ending).
        variable: Which variable named it, for the problem.
        folder: Where the built-in profiles are.
    """
    is_path = "/" in name or name.endswith((SUFFIX, ".yml"))
    path = Path(name) if is_path else folder / f"{name}{SUFFIX}"
    try:
        return load_profile(path, folder)
    except FileNotFoundError:
        if is_path:
            return Problem(variable, "no such file", name, A_FILE, anchor=SOURCES_ANCHOR)
    except BrokenProfileError as error:
        return Problem(variable, error.message, str(error.path), anchor=PROFILES_ANCHOR)
    return Problem(
        variable,
        "no such profile",
        got=name,
        expected="the name of a built-in profile or the path of a YAML file",
        suggestions=suggest(name, names(folder), HINT),
        anchor=PROFILES_ANCHOR,
    )


def profile_layer(profile: Profile, reason: str | None = None) -> Layer:
    """Return a profile's settings as a source of values.

    Args:
        profile: The profile.
        reason: How it was chosen, if nobody named it.
    """
    return Layer(f"profile {profile.name}" + (f" ({reason})" if reason else ""), profile.settings)
