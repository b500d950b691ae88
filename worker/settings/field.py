"""The words in which a worker-owned setting is declared: one pydantic field says it all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

WORDS = "x-setting"
"""Key under which a field's `Words` travel in pydantic's `json_schema_extra`."""


class Group(BaseModel):
    """Base of every group of settings: read once, never changed, nothing undeclared."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


@dataclass(frozen=True, slots=True)
class Words:
    """What a setting has beside type, default, bounds and description.

    Attributes:
        env: Environment variable; None means the field's name in upper case.
        aliases: Other variables with the same meaning, in order of precedence after `env`.
        title: Label in console forms; None means the name, spelt out.
        unit: What a number counts, e.g. `seconds`, `requests`.
        option: The `vllm serve` option that carries the value on, e.g. `model`; None: the worker.
        secret: True hides the value wherever it would be shown.
        advanced: False shows the field without unfolding the console form.
        console: False keeps the field out of the console forms.
        example: A value for docs and `.env.example`.
        unset: What happens when nobody sets it, where `default` does not say it.
    """

    env: str | None = None
    aliases: tuple[str, ...] = ()
    title: str | None = None
    unit: str | None = None
    option: str | None = None
    secret: bool = False
    advanced: bool = True
    console: bool = True
    example: str | None = None
    unset: str | None = None


def setting(default: Any, description: str, words: Words | None = None, **constraints: Any) -> Any:
    """Declare one setting.

    Args:
        default: Value when nobody sets it.
        description: First sentence: what it does, at most 100 characters; then what unset means
            and what it costs. No default in prose, it is rendered beside.
        words: Names, unit and presentation.
        **constraints: Bounds as pydantic's `Field` takes them, e.g. `ge=1`.
    """
    return Field(
        default,
        description=description,
        json_schema_extra={WORDS: words},  # type: ignore[dict-item]
        **constraints,
    )
