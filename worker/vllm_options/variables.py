"""Explains variables that look like vLLM's own and that the pinned vLLM does not read."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping

from worker.suggest import CERTAIN, suggest
from worker.yaml_reader import read_table

PREFIX = "VLLM_"

BY_OTHERS = re.compile(
    r"_SERVICE_(HOST|PORT\w*)$|_PORT_\d+_(TCP|UDP)\w*$|_(VERSION|COMMIT|IMAGE|SHA|SOURCE|DIR|BRANCH)$"
)
"""Ends of names that Kubernetes and builds of images set."""


@functools.cache
def _other_releases() -> Mapping[str, str]:
    """Return which other release reads a variable; nothing for one that the pinned one reads."""
    table = read_table(__file__)
    last, first = "{} was the last that did", "{} is the first that does"
    return dict.fromkeys(table["outside"], "") | {
        name: text.format(release)
        for key, text in (("last_release", last), ("first_release", first))
        for release, names in table[key].items()
        for name in names
    }


def explain_unread(
    name: str, known: Collection[str], version: str
) -> tuple[str, tuple[str, ...]] | None:
    """Return why the pinned vLLM does not read a variable, and what was probably meant.

    None if it reads it, or if that is unknown.

    Args:
        name: The variable.
        known: What the pinned vLLM reads.
        version: The pinned vLLM.
    """
    other = _other_releases().get(name) if name.startswith(PREFIX) and name not in known else ""
    if other == "":
        return None
    if other is not None:
        return f"vLLM {version} does not read it; {other}", ()
    near = suggest(name, [variable for variable in known if variable.startswith(PREFIX)], CERTAIN)
    if not near and BY_OTHERS.search(name):
        return None
    return f"vLLM {version} has no such variable", near
