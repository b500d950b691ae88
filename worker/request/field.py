"""The base of request models; each parameter is one pydantic field with `Meta`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    ValidationInfo,
    model_validator,
)

from worker.metadata import find_meta

InputMode = Literal["prompt", "messages"]
"""What a native request starts from; it determines the route of vLLM."""

ALL_INPUT_MODES: tuple[InputMode, ...] = ("prompt", "messages")
MAX_UNKNOWN_NAMES = 32
"""Unknown names that are reported one by one; more are not likely to be misspellings."""


@dataclass(slots=True)
class Surplus:
    """Context of a validation: unknown names that were not passed to pydantic.

    Attributes:
        count: Number of those names.
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
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def drop_nulls(cls, data: Any, info: ValidationInfo) -> Any:
        """Treat null as absent, because official clients send unused optional fields as null.

        Of very many unknown names only the first are kept: pydantic creates an error for each.
        """
        if not isinstance(data, dict):
            return data
        sent = {name: value for name, value in data.items() if value is not None}
        if len(sent) <= len(cls.model_fields) + MAX_UNKNOWN_NAMES:
            return sent
        known = known_names(cls)
        unknown = [name for name in sent if name not in known]
        for name in unknown[MAX_UNKNOWN_NAMES:]:
            del sent[name]
        if isinstance(info.context, Surplus):
            info.context.count += len(unknown[MAX_UNKNOWN_NAMES:])
        return sent


@functools.cache
def known_names(model: type[BaseModel]) -> frozenset[str]:
    """Return the names that a model takes in JSON, with all aliases."""
    names: set[str] = set()
    for name, field in model.model_fields.items():
        choices = field.validation_alias
        aliases = choices.choices if isinstance(choices, AliasChoices) else (choices, field.alias)
        names |= {name, *(alias for alias in aliases if isinstance(alias, str))}
    return frozenset(names)


def input_modes_of(model: type[BaseModel], name: str) -> tuple[str, ...]:
    """Return the input modes in which a parameter has an effect."""
    return find_meta(model.model_fields[name]).input_modes or ALL_INPUT_MODES


@functools.cache
def aliases_of(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the aliases of a model's fields, each with the field's name."""
    return {
        alias: name
        for name, field in model.model_fields.items()
        for alias in find_meta(field).aliases
    }
