"""One row of the catalogue: everything known about one settable name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SWITCH_KINDS = ("switch", "flag", "boolean")
NUMBER_KINDS = ("integer", "number", "human-integer", "human-integer-or-auto")
OBJECT_KINDS = ("object", "json", "object-or-string")
LIST_KINDS = ("list", "integer-list", "comma-list", "repeated", "lora-modules")


@dataclass(frozen=True, slots=True)
class Option:
    """One setting, whoever reads it.

    Attributes:
        name: Environment variable, e.g. `MAX_MODEL_LEN`.
        key: Spelling in a profile or configuration file, e.g. `max_model_len`.
        kind: How values are written: `integer`, `switch`, `object`, `list`, … (see `parse`).
        schema: JSON Schema of the value: type, enum, bounds, properties, items.
        description: Markdown; its first sentence stands alone in tables and forms.
        title: Label in console forms.
        category: Heading in docs and console forms.
        default: Value when nobody sets it; None leaves the choice to vLLM.
        engine_default: What vLLM uses when it is not told.
        field: Group and field of the worker's own settings; None for a pure engine option.
        engine_key: Attribute of vLLM's parsed arguments; None for the worker's own settings.
        flag: Spelling on vLLM's command line, e.g. `--max-model-len`.
        aliases: Other variables with the same meaning, in order of precedence after `name`.
        names: Registered names that are accepted, where that list is open to plugins.
        unit: What a number counts.
        example: A value for docs.
        unset: What happens when nobody sets it, where `default` does not say it.
        secret: Its value is never shown.
        console: Part of the console forms.
        advanced: Folded away in the console form.
        zero_is_unset: A 0 from the environment means that the form's field was left empty.
        pairs: `a=1,b=2` is accepted for a JSON object.
        reserved: Why nobody may set it; None for all others.
    """

    name: str
    key: str
    kind: str
    schema: Mapping[str, Any]
    description: str
    title: str
    category: str
    default: Any = None
    engine_default: Any = None
    field: tuple[str, str] | None = None
    engine_key: str | None = None
    flag: str | None = None
    aliases: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    unit: str | None = None
    example: str | None = None
    unset: str | None = None
    secret: bool = False
    console: bool = False
    advanced: bool = True
    zero_is_unset: bool = False
    pairs: bool = False
    reserved: str | None = None

    @property
    def page(self) -> str:
        """The docs page that describes it."""
        return "configuration.md" if self.field or self.console else "engine-options.md"

    @property
    def anchor(self) -> str:
        """Where the docs describe it, as `page.md#anchor`."""
        return f"{self.page}#{self.name.lower()}"

    @property
    def summary(self) -> str:
        """The first sentence of the description, on one line."""
        paragraph = " ".join(self.description.split("\n\n", 1)[0].split())
        end = paragraph.find(". ")
        return paragraph if end < 0 else paragraph[: end + 1]
