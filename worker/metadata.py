"""What a field has beside type, default, bounds and description: one class for every declaration.

Settings and request parameters are pydantic fields; `Meta` stands in their `Annotated` type.
"""

from __future__ import annotations

from typing import Any

from pydantic.fields import FieldInfo


class Meta:
    """Names, unit and presentation of a setting or a request parameter.

    Args:
        names: Environment variables of a setting, in order of precedence; none means the field's
            name in upper case.
        title: Label in console forms; None means the name as words.
        unit: What a number counts, e.g. `seconds`, `tokens`.
        example: A value for docs and `.env.example`.
        default_text: What happens when nobody sets it, where the default does not say it.
        vllm_option: vLLM's name for it, where the value is passed on.
        advanced: False shows it without unfolding the console form.
        console: False keeps it, or a whole group, out of the console forms.
    """

    __slots__ = (
        "advanced",
        "console",
        "default_text",
        "example",
        "names",
        "title",
        "unit",
        "vllm_option",
    )

    def __init__(  # noqa: PLR0913 - a declaration, by keyword
        self,
        *names: str,
        title: str | None = None,
        unit: str | None = None,
        example: str | None = None,
        default_text: str | None = None,
        vllm_option: str | None = None,
        advanced: bool = True,
        console: bool = True,
    ) -> None:
        self.names = names
        self.title = title
        self.unit = unit
        self.example = example
        self.default_text = default_text
        self.vllm_option = vllm_option
        self.advanced = advanced
        self.console = console


def find_meta(field: FieldInfo) -> Meta:
    """Return what is declared for a field; an empty `Meta` where nothing is."""
    found: Any = next((item for item in field.metadata if isinstance(item, Meta)), None)
    return found or Meta()
