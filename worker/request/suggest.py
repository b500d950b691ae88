"""Nearest known names for a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

CUTOFF = 0.8
"""Similarity from which a name counts as meant; 0.8 caught every typo tried, with few innocents."""

LONGEST = 64
"""Characters; no known name is longer, and comparing long texts is slow."""


def suggest(name: str, known: Iterable[str]) -> list[str]:
    """Return at most three known names near `name`, best first."""
    if len(name) > LONGEST:
        return []
    folded = name.casefold().replace("-", "_")
    return difflib.get_close_matches(folded, list(known), n=3, cutoff=CUTOFF)


def ask(names: list[str]) -> str:
    """Return ` Did you mean …?` for the given names, or nothing."""
    return f" Did you mean {' or '.join(names)}?" if names else ""
