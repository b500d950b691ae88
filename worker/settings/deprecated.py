"""Removed and renamed variables of worker-vllm and of vLLM; the table is `deprecated.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from worker.yaml_reader import read_table

ANCHOR = "configuration.md#removed-and-renamed-variables"
TYPES: Mapping[str, Any] = {"boolean": bool, "integer": int, "string": str}


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedVariable:
    """A variable that nothing reads any more.

    Attributes:
        since: What removed it.
        instead: What to do now, as a sentence.
        default: Text that worker-vllm's console form sends; setting that is not reported.
    """

    since: str
    instead: str = ""
    default: str | None = None

    def is_set(self, raw: Any) -> bool:
        """Whether a value differs from what worker-vllm's form sends by itself."""
        return is_set(raw, self.default)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenamedVariable(RemovedVariable):
    """A variable whose value still takes effect through another setting.

    Attributes:
        target: vLLM's name of that setting.
        type: JSON type of the old value.
        member: Member of the target that takes the value.
        values: Old values with another meaning now; null leaves the target unset.
    """

    target: str
    type: str = "string"
    member: str | None = None
    values: Mapping[Any, Any] = field(default_factory=dict)

    def is_set(self, raw: Any) -> bool:
        """Whether a value differs from what a form sends by itself: 0 in an empty number field."""
        is_empty = self.type == "integer" and str(raw).strip() in ("0", "0.0")
        return not is_empty and is_set(raw, self.default)

    def convert(self, raw: Any) -> Any:
        """Return the target's value.

        Raises:
            ValidationError: The value is not of its type.
        """
        value = TypeAdapter(TYPES[self.type]).validate_python(raw)
        return self.values.get(value, {self.member: value} if self.member else value)


def is_set(raw: Any, default: str | None = None) -> bool:
    """Whether a value is neither empty nor a default."""
    text = str(raw).strip().lower() if raw is not None else ""
    if text in ("", "none", "null"):
        return False
    try:
        return default is None or float(text) != float(default)
    except ValueError:
        return text != str(default).lower()


_TABLE = read_table(__file__)
RENAMED = {name: RenamedVariable(**facts) for name, facts in _TABLE["renamed"].items()}
REMOVED = {name: RemovedVariable(**facts) for name, facts in _TABLE["removed"].items()}
RETIRED: Mapping[str, Mapping[str, str]] = _TABLE["retired"]
"""Values of vLLM's options that worker-vllm offered and the pinned vLLM lacks, with advice."""
