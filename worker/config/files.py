"""Reads the two kinds of YAML file that hold settings: profiles and the configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from worker.config.names import nearest
from worker.config.resolve import Layer
from worker.errors import Problem

PROFILES = Path(__file__).resolve().parents[2] / "profiles"
"""Folder of the built-in profiles."""

ABOUT = "about"
"""Key of a profile that describes it and sets nothing."""

SUFFIX = ".yaml"
SOURCES_ANCHOR = "configuration.md#how-values-are-found"


def read_file(path: Path, variable: str) -> Layer | Problem:
    """Read the configuration file.

    Args:
        path: The YAML file.
        variable: Which variable named it, for the problem.
    """
    return _read(path, f"file {path.name}", variable)


def read_profile(name: str, variable: str, folder: Path = PROFILES) -> Layer | Problem:
    """Read a profile by its name, or by the path of its file.

    Args:
        name: Name of a built-in profile, or a path (anything with a `/` or a YAML ending).
        variable: Which variable named it, for the problem.
        folder: Where the built-in profiles are.
    """
    if "/" in name or name.endswith((SUFFIX, ".yml")):
        return _read(Path(name), f"profile {Path(name).stem}", variable)
    path = folder / f"{name}{SUFFIX}"
    if path.is_file():
        return _read(path, f"profile {name}", variable)
    known = sorted(file.stem for file in folder.glob(f"*{SUFFIX}"))
    return Problem(
        variable,
        "no such profile",
        got=name,
        expected="the name of a built-in profile or the path of a YAML file",
        suggestions=nearest(name, known),
        anchor=SOURCES_ANCHOR,
    )


def _read(path: Path, source: str, variable: str) -> Layer | Problem:
    def problem(message: str, expected: str | None = None) -> Problem:
        return Problem(variable, message, str(path), expected, anchor=SOURCES_ANCHOR)

    try:
        values: Any = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506
    except FileNotFoundError:
        return problem("no such file", "the path of a YAML file")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text in UTF-8"
        return problem(f"cannot be read: {reason}", "the path of a YAML file")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark is not None else ""
        detail = getattr(error, "problem", None) or "syntax error"
        return problem(f"not valid YAML{line}: {detail}")
    if values is None:
        values = {}
    if not isinstance(values, dict):
        return problem("not a mapping", "a mapping of settings, e.g. max_model_len: 8192")
    return Layer(source, {key: value for key, value in values.items() if key != ABOUT})


# The C loader is the same safe loader, ten times as fast; some builds of PyYAML lack it.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
