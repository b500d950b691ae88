"""The base of every group of settings: text as users and forms write it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticKnownError

from worker.suggest import HINT, suggest
from worker.validation_errors import expected_choices, invalid_value


class SettingsModel(BaseModel):
    """Base of every group of settings: immutable, and strict about names."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    @model_validator(mode="before")
    @classmethod
    def normalize(cls, data: Any) -> Any:
        """Accept surrounding spaces and any spelling of a choice; a boolean is not a number."""
        fields = cls.model_fields
        return {
            name: cls._normalize(fields[name].annotation, value) if name in fields else value
            for name, value in data.items()
        }

    @staticmethod
    def _normalize(annotation: Any, value: Any) -> Any:
        accepted = union_members(annotation)
        if isinstance(value, str):
            value = value.strip()
            if not is_text(value):
                raise invalid_value("not text", "UTF-8 without null bytes")
        if isinstance(value, bool) and bool not in accepted:
            if int in accepted or float in accepted:
                raise PydanticKnownError("int_type" if int in accepted else "float_type")
            value = str(value).lower() if str in accepted else value
        choices = [choice for item in accepted for choice in _choices(item)]
        return choose(value, choices) if choices else value


def is_text(text: str) -> bool:
    """Whether a text can be a path, an argument and a line of output."""
    try:
        text.encode()
    except UnicodeEncodeError:  # It had bytes that are not UTF-8.
        return False
    return "\0" not in text


def union_members(annotation: Any) -> tuple[Any, ...]:
    """Return the types of a union, each without its constraints."""
    if get_origin(annotation) is Literal:
        return (annotation,)
    members = get_args(annotation) if type(None) in get_args(annotation) else (annotation,)
    return tuple(get_args(m)[0] if get_origin(m) is Annotated else m for m in members)


def _choices(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def choose(value: Any, choices: Sequence[Any]) -> Any:
    """Return the choice that `value` names, in any case, and with `-` instead of `_`."""
    if isinstance(value, (dict, list)) or value in choices:
        return value
    folded = {fold(choice): choice for choice in choices}
    if fold(value) in folded:
        return folded[fold(value)]
    near = suggest(str(value), [c for c in choices if isinstance(c, str)], HINT)
    raise invalid_value("unknown value", expected_choices(choices), near)


def fold(value: Any) -> str:
    """Return a name in the form in which spellings are compared."""
    return str(value).lower().replace("-", "_")
