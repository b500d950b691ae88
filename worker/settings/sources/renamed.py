"""What renamed and removed variables still say; `deprecated` has the variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.settings.deprecated import REMOVED, RENAMED, Renamed

ANCHOR = "configuration.md#removed-and-renamed-variables"
LEGACY_NAMES = (*REMOVED, *RENAMED)
TYPES: Mapping[str, Any] = {"boolean": bool, "integer": int, "string": str}


def is_set(raw: Any, default: str | None) -> bool:
    """Whether a value differs from what worker-vllm's form sends untouched."""
    text = str(raw).strip().lower() if raw is not None else ""
    if text in ("", "none", "null"):
        return False
    if default is None:
        return True
    try:
        return float(text) != float(default)
    except ValueError:
        return text != default.lower()


def is_empty_field(raw: Any, renamed: Renamed) -> bool:
    """Whether a form sent 0 for a number field that was left empty."""
    return renamed.kind == "integer" and str(raw).strip() in ("0", "0.0")
