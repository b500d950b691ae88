"""The words in which a request parameter is declared: one pydantic field, everything about it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

Kind = Literal["prompt", "messages"]
"""What a native request starts from; it decides which of vLLM's routes answers."""

EVERYWHERE: tuple[Kind, ...] = ("prompt", "messages")

UNIT = "x-unit"
KINDS = "x-works-with"
TARGET = "x-vllm-name"
UNSET = "x-unset"
SETTING = "x-setting"
ALIASES = "x-aliases"


MOST_UNKNOWN = 32
"""Unknown names that are reported one by one; an input with more is not a misspelt one."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of the worker that holds where a request says nothing.

    Attributes:
        name: Its environment variable.
    """

    name: str


@dataclass(slots=True)
class Surplus:
    """Context of a validation: unknown names that were not passed to pydantic.

    Attributes:
        count: How many.
    """

    count: int = 0


class Parameters(BaseModel):
    """Base of request models: types are enforced, names must be known, null means not sent."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    @model_validator(mode="before")
    @classmethod
    def drop_nulls(cls, data: Any, info: ValidationInfo) -> Any:
        """Treat null as absent, as the official clients' optional fields need it.

        Of very many unknown names only the first are left, because pydantic makes an error of each.
        """
        if not isinstance(data, dict):
            return data
        sent = {name: value for name, value in data.items() if value is not None}
        if len(sent) <= len(cls.model_fields) + MOST_UNKNOWN:
            return sent
        known = known_names(cls)
        unknown = [name for name in sent if name not in known]
        for name in unknown[MOST_UNKNOWN:]:
            del sent[name]
        if isinstance(info.context, Surplus):
            info.context.count += len(unknown[MOST_UNKNOWN:])
        return sent


def parameter(  # noqa: PLR0913  a keyword for each thing that is declared
    default: Any,
    description: str,
    *,
    unit: str | None = None,
    kinds: tuple[Kind, ...] = EVERYWHERE,
    target: str | None = None,
    unset: str | Setting | None = None,
    aliases: tuple[str, ...] = (),
    **constraints: Any,
) -> Any:
    """Declare one request parameter.

    Args:
        default: Value when the request has none. Only values of the request travel to vLLM.
        description: What it does and what it costs; no default, it is rendered beside.
        unit: What a number counts, e.g. `tokens`.
        kinds: The kinds of native request in which it has an effect.
        target: vLLM's name for it, where that differs.
        unset: What happens without it, where `default` does not say it.
        aliases: Other names for it that a request may use.
        **constraints: Bounds as pydantic's `Field` takes them, e.g. `ge=1`.
    """
    words: dict[str, Any] = {KINDS: list(kinds)}
    if isinstance(unset, Setting):
        words[SETTING] = unset.name
        unset = None
    words |= {
        key: value
        for key, value in (
            (UNIT, unit),
            (TARGET, target),
            (UNSET, unset),
            (ALIASES, list(aliases) or None),
        )
        if value is not None
    }
    return Field(default, description=description, json_schema_extra=words, **constraints)


@functools.cache
def known_names(model: type[BaseModel]) -> frozenset[str]:
    """Return the names that a model takes in JSON, with all aliases."""
    names: set[str] = set()
    for name, field in model.model_fields.items():
        choices = field.validation_alias
        aliases = choices.choices if isinstance(choices, AliasChoices) else (choices, field.alias)
        names |= {name, *(alias for alias in aliases if isinstance(alias, str))}
    return frozenset(names)


def word_of(model: type[BaseModel], name: str, word: str) -> Any:
    """Return what was declared for a field under `word`, or None."""
    extra = model.model_fields[name].json_schema_extra
    return extra.get(word) if isinstance(extra, dict) else None


@functools.cache
def aliases_of(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the aliases of a model's fields, each with the field's name."""
    return {
        alias: name for name in model.model_fields for alias in word_of(model, name, ALIASES) or ()
    }
