"""Metadata of fields, in the `Annotated` type of every setting and request parameter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema

UNIT = "x-unit"
VLLM_NAME = "x-vllm-name"
ALIASES = "x-aliases"
INPUT_MODES = "x-input-modes"
SETTING = "x-setting"
DEFAULT_TEXT = "x-default-text"
"""Keys in a JSON Schema for the attributes of `Meta`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """Names, unit and presentation of a setting or a request parameter.

    Attributes:
        env: Environment variable of a setting; None means the field's name in upper case.
        env_prefix: Of a group of settings: how the variables of its fields begin.
        aliases: Other names that are accepted, in order of precedence.
        title: Label in console forms; None means the name as words.
        unit: What a number counts, e.g. `seconds`, `tokens`.
        example: A value for docs and `.env.example`.
        default_text: What happens without a value, if the default does not show it.
        vllm_name: vLLM's name for it: the option that a setting becomes, or another name of a
            request parameter.
        setting: Environment variable of the setting that applies if a request has no value.
        input_modes: Input modes of a native request in which a parameter has an effect; empty
            means all.
        advanced: False shows it in the console form without unfolding.
        console: False excludes it, or a whole group, from the console forms.
    """

    env: str | None = field(default=None, kw_only=False)
    env_prefix: str = ""
    aliases: tuple[str, ...] = ()
    title: str | None = None
    unit: str | None = None
    example: str | None = None
    default_text: str | None = None
    vllm_name: str | None = None
    setting: str | None = None
    input_modes: tuple[str, ...] = ()
    advanced: bool = True
    console: bool = True

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Add the unit, the names and the input modes to the JSON Schema."""
        extra = {
            UNIT: self.unit,
            VLLM_NAME: self.vllm_name,
            ALIASES: list(self.aliases),
            INPUT_MODES: list(self.input_modes),
            SETTING: self.setting,
            DEFAULT_TEXT: self.default_text,
        }
        return {**handler(core_schema), **{key: item for key, item in extra.items() if item}}


def find_meta(field: FieldInfo) -> Meta:
    """Return the `Meta` of a field; an empty one if the field has none."""
    return next((item for item in field.metadata if isinstance(item, Meta)), Meta())
