"""The precision of weights that a repository's name states."""

from __future__ import annotations

import re

from worker.profile.model import Precision

_MARKS: tuple[tuple[re.Pattern[str], Precision], ...] = (
    (re.compile(r"nvfp4"), "nvfp4"),
    (re.compile(r"mxfp4"), "mxfp4"),
    (re.compile(r"fp8"), "fp8"),
    (re.compile(r"int8|w8a8|w8a16|8bit"), "int8"),
    (re.compile(r"int4|w4a16|awq|gptq|4bit"), "int4"),
    (re.compile(r"bf16"), "bf16"),
)
"""What names say, the more exact first: `GPTQ-Int8` has eight bits, `NVFP4-FP8` mostly four."""


def named_precision(model: str) -> Precision | None:
    """Return the precision in a repository's name; None for the makers' own choice.

    Args:
        model: Repository id, in any case.
    """
    name = model.rpartition("/")[2].lower()
    return next((precision for mark, precision in _MARKS if mark.search(name)), None)


def share_precision(model: str, other: str) -> bool:
    """Return whether two names imply weights of the same precision and therefore size."""
    return named_precision(model) == named_precision(other)
