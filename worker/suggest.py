"""Suggestions for misspelt names, for settings and requests."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable

HINT = 0.6
"""Similarity for hints about a value that is wrong in any case; a poor hint costs nothing."""

TYPO = 0.8
"""Similarity from which an unknown name counts as misspelt; 0.8 caught every typo tried."""

CERTAIN = 0.9
"""Similarity for short names among many unrelated ones."""

MAX_NAME_CHARS = 64
"""Characters; no known name is longer, and a comparison costs the product of the lengths."""

MAX_SUGGESTIONS = 3
"""Names that are suggested."""

_SEPARATORS = str.maketrans("- ", "__")


def suggest(name: str, known: Iterable[str], cutoff: float = TYPO) -> tuple[str, ...]:
    """Return at most three known names that resemble `name`, best first.

    Case and the kind of separator do not count: `Top-K` is as near to `top_k` as `top_k` is.
    Names above `MAX_NAME_CHARS` characters resemble nothing, which bounds the cost of a comparison.
    """
    if len(name) > MAX_NAME_CHARS:
        return ()
    wanted = _fold(name)
    folded: dict[str, str] = {}
    for other in known:
        # Names whose lengths differ too much cannot reach the cutoff.
        shorter, longer = sorted((len(wanted), len(form := _fold(other))))
        if 2 * shorter >= cutoff * (shorter + longer):
            folded.setdefault(form, other)
    near = difflib.get_close_matches(wanted, folded, n=MAX_SUGGESTIONS, cutoff=cutoff)
    return tuple(folded[form] for form in near)


def did_you_mean(names: Iterable[str]) -> str:
    """Return ` Did you mean a or b?`, or an empty text without names."""
    text = " or ".join(names)
    return f" Did you mean {text}?" if text else ""


@functools.lru_cache(maxsize=2048)
def _fold(name: str) -> str:
    return name.casefold().translate(_SEPARATORS)
