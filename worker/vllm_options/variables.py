"""Explains variables that look like vLLM's own and that the pinned vLLM does not read."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from worker.suggest import CERTAIN, suggest

DATA = Path(__file__).with_suffix(".yaml")
PREFIX = "VLLM_"

BY_OTHERS = re.compile(
    r"_SERVICE_(HOST|PORT\w*)$|_PORT_\d+_(TCP|UDP)\w*$|_(VERSION|COMMIT|IMAGE|SHA|SOURCE|DIR|BRANCH)$"
)
"""Ends of names that Kubernetes and builds of images set."""


@dataclass(frozen=True, slots=True)
class Releases:
    """Variables of other releases than the pinned one.

    Attributes:
        last: The last release that read a variable.
        first: The first release that reads a variable.
        outside: Variables of the pinned release that its own list lacks.
    """

    last: Mapping[str, str]
    first: Mapping[str, str]
    outside: frozenset[str]


@dataclass(frozen=True, slots=True)
class Unread:
    """Why a variable has no effect.

    Attributes:
        message: The reason, without a full stop.
        suggestions: What was probably meant; empty where the name is right for another release.
    """

    message: str
    suggestions: tuple[str, ...] = ()


@functools.cache
def read_releases() -> Releases:
    """Read the table, once per process."""
    data = yaml.safe_load(DATA.read_text(encoding="utf-8"))
    last, first = (
        {name: release for release, names in data[key].items() for name in names}
        for key in ("last_release", "first_release")
    )
    return Releases(last, first, frozenset(data["outside"]))


def explain_unread(name: str, known: Collection[str], version: str) -> Unread | None:
    """Return why the pinned vLLM does not read a variable; None where it does, or nobody can say.

    Args:
        name: The variable.
        known: What the pinned vLLM reads.
        version: The pinned vLLM.
    """
    if not name.startswith(PREFIX) or name in known:
        return None
    releases = read_releases()
    if name in releases.outside:
        return None
    if name in releases.last:
        return Unread(
            f"vLLM {version} does not read it; {releases.last[name]} was the last that did"
        )
    if name in releases.first:
        return Unread(
            f"vLLM {version} does not read it; {releases.first[name]} is the first that does"
        )
    near = suggest(name, [other for other in known if other.startswith(PREFIX)], CERTAIN)
    if near:
        return Unread(f"vLLM {version} has no such variable", near)
    if BY_OTHERS.search(name):
        return None
    return Unread(f"vLLM {version} has no such variable")
