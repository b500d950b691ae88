"""One row of the registry: everything known about one setting, the worker's own or vLLM's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.validation_errors import plain

VLLM = "vllm"
"""Group of vLLM's options among the settings."""

SWITCH_KINDS = ("switch", "flag", "boolean")
NUMBER_KINDS = ("integer", "number", "human-integer", "human-integer-or-auto")
OBJECT_KINDS = ("object", "json", "object-or-string")
LIST_KINDS = ("list", "integer-list", "comma-list", "repeated", "lora-modules")


@dataclass(frozen=True, slots=True)
class Option:
    """One setting.

    Attributes:
        name: Environment variable, e.g. `MAX_MODEL_LEN`.
        key: Spelling in a profile or configuration file, e.g. `max_model_len`.
        kind: How values are written: `integer`, `switch`, `object`, `list`, … (see `types`).
        schema: JSON Schema of the value: type, enum, bounds, properties, items.
        description: Markdown; its first sentence stands alone in tables and forms.
        title: Label in console forms.
        category: Heading in docs and console forms.
        default: Value when nobody sets it; None leaves the choice to vLLM.
        engine_default: vLLM's own default.
        field: Group and field of the worker's own settings; None for a pure option of vLLM.
        engine_key: Attribute of vLLM's parsed arguments; None for the worker's own settings.
        flag: Spelling on vLLM's command line, e.g. `--max-model-len`.
        aliases: Other variables with the same meaning, in order of precedence after `name`.
        known_values: Registered names that are accepted, where that list is open to plugins.
        unit: What a number counts.
        example: A value for docs.
        default_text: What happens when nobody sets it, where `default` does not say it.
        secret: Its value is never shown.
        console: Part of the console forms.
        advanced: Folded away in the console form.
        zero_is_unset: A 0 from the environment means that the form's field was left empty.
        accepts_pairs: `a=1,b=2` is accepted for a JSON object.
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
    known_values: tuple[str, ...] = ()
    unit: str | None = None
    example: str | None = None
    default_text: str | None = None
    secret: bool = False
    console: bool = False
    advanced: bool = True
    zero_is_unset: bool = False
    accepts_pairs: bool = False
    reserved: str | None = None

    @property
    def path(self) -> tuple[str, str]:
        """Group and field of the settings that hold its value."""
        return self.field or (VLLM, self.engine_key or self.key)

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

    @property
    def expected_number(self) -> str:
        """What a numeric option takes, bounds included."""
        noun = "a number" if self.kind == "number" else "an integer"
        bounds = [
            f"{word} {plain(self.schema[keyword])}"
            for keyword, word in (
                ("minimum", "at least"),
                ("exclusiveMinimum", "above"),
                ("maximum", "at most"),
                ("exclusiveMaximum", "below"),
            )
            if keyword in self.schema and not ("auto" in self.kind and keyword == "minimum")
        ]
        text = f"{noun} {' and '.join(bounds)}" if bounds else noun
        if "human" in self.kind:
            text += ", such as 8192, 8k (8000) or 8K (8192)"
        return f"{text}, or auto" if "auto" in self.kind else text

    @property
    def expected(self) -> str | None:
        """What it takes, where its type alone does not say it in the user's terms."""
        is_number = self.kind in NUMBER_KINDS and "enum" not in self.schema
        return self.expected_number if is_number else None
