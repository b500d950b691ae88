"""Every setting in one list: the worker's own and all options of `vllm serve`."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from worker.metadata import Meta, find_meta
from worker.settings.groups import WorkerSettings
from worker.settings.types import union_members
from worker.validation_errors import plain
from worker.vllm_options.overrides import OVERRIDES, RESERVED, Override
from worker.vllm_options.schema import VllmSchema, read_schema

VLLM = "vllm"
"""Group of vLLM's options among the settings."""

SOURCES = "sources"
"""Group of the settings that only the environment may have."""

SWITCH_KINDS = ("switch", "flag", "boolean")
NUMBER_KINDS = ("integer", "number", "human-integer", "human-integer-or-auto")
OBJECT_KINDS = ("object", "json", "object-or-string")
LIST_KINDS = ("list", "integer-list", "comma-list", "repeated", "lora-modules")

BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}
KEYWORDS = (
    *("type", "enum", "items", "properties", "additionalProperties", "required"),
    *("minLength", "maxLength", "pattern", *BOUNDS),
)
"""Keywords of JSON Schema that an option keeps."""

UNITS = ("s", "ms")
"""Ends of names that are units."""

CAPITALS = {
    **{word: word.upper() for word in ("api", "cpu", "gpu", "http", "kv")},
    **{"hf": "Hugging Face", "lora": "LoRA", "mm": "multimodal", "openai": "OpenAI"},
}


@dataclass(frozen=True, slots=True)
class Option:
    """One setting, the worker's own or vLLM's.

    Attributes:
        name: Environment variable, e.g. `MAX_MODEL_LEN`.
        key: Spelling in a profile or configuration file, e.g. `max_model_len`.
        kind: How values are written: `integer`, `switch`, `object`, `list`, … (see `types`).
        schema: JSON Schema of the value: type, enum, bounds, properties, items.
        description: Markdown; tables and forms show its first sentence only.
        title: Label in console forms.
        category: Heading in docs and console forms.
        default: Value when nobody sets it; None leaves the choice to vLLM.
        engine_default: vLLM's own default.
        field: Group and field of the worker's own settings; None for a pure option of vLLM.
        vllm_name: Attribute of vLLM's parsed arguments; None for the worker's own settings.
        flag: Spelling on vLLM's command line, e.g. `--max-model-len`.
        aliases: Other variables with the same meaning, in order of precedence after `name`.
        known_values: Registered names that are accepted, where that list is open to plugins.
        unit: What a number counts.
        example: A value for docs.
        default_text: The default in words, where it has no value.
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
    vllm_name: str | None = None
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
        return self.field or (VLLM, self.key)

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
        is_auto = "auto" in self.kind
        bounds = [
            f"{words} {plain(self.schema[keyword])}"
            for keyword, words in BOUNDS.items()
            if keyword in self.schema and not (is_auto and keyword == "minimum")
        ]
        noun = "a number" if self.kind == "number" else "an integer"
        text = " ".join([noun, " and ".join(bounds)]).strip()
        if "human" in self.kind:
            text += ", such as 8192, 8k (8000) or 8K (8192)"
        return f"{text}, or auto" if is_auto else text

    @property
    def expected(self) -> str | None:
        """What a number must be; None for other kinds."""
        is_number = self.kind in NUMBER_KINDS and "enum" not in self.schema
        return self.expected_number if is_number else None


@dataclass(frozen=True, slots=True)
class OptionRegistry:
    """All options, by every spelling.

    Attributes:
        options: In the order of docs: the worker's groups, then vLLM's own order.
        by_variable: By environment variable, aliases included.
        by_file_key: By spelling in files: lower case of every variable, and vLLM's own name.
        by_vllm_name: vLLM's options by its own name.
        by_key: What a user may set, by its key and by vLLM's name.
        version: Release of vLLM that the options belong to.
        engine_variables: Variables that vLLM reads itself.
    """

    options: tuple[Option, ...]
    by_variable: Mapping[str, Option]
    by_file_key: Mapping[str, Option]
    by_vllm_name: Mapping[str, Option]
    by_key: Mapping[str, Option]
    version: str
    engine_variables: frozenset[str]

    def settable(self) -> Iterator[Option]:
        """Yield the options that a user may set."""
        return (option for option in self.options if option.reserved is None)


@functools.cache
def load_registry() -> OptionRegistry:
    """Build the registry, once per process."""
    captured = read_schema()
    worker = tuple(_worker_options(captured))
    taken = {option.vllm_name for option in worker}
    engine = (_engine_option(key, captured) for key in captured.options if key not in taken)
    options = (*worker, *engine)
    by_variable = {
        name: option
        for option in options
        if option.reserved is None
        for name in (option.name, *option.aliases)
    }
    by_file_key = {name.lower(): option for name, option in by_variable.items()}
    by_vllm_name = {option.vllm_name: option for option in options if option.vllm_name}
    by_key = {o.vllm_name or o.key: o for o in options if not o.reserved}
    by_key |= {o.key: o for o in options if not o.reserved}
    return OptionRegistry(
        options=options,
        by_variable=by_variable,
        by_file_key=by_file_key | {option.key: option for option in options} | by_vllm_name,
        by_vllm_name=by_vllm_name,
        by_key=by_key,
        version=captured.version,
        engine_variables=captured.environment,
    )


def _worker_options(captured: VllmSchema) -> Iterator[Option]:
    for group, info in WorkerSettings.model_fields.items():
        model: Any = info.annotation
        schemas = model.model_json_schema()["properties"]
        for name, field in model.model_fields.items():
            yield _worker_option((group, name), find_meta(info), field, schemas[name], captured)


def _worker_option(
    path: tuple[str, str],
    group: Meta,
    field: FieldInfo,
    described: Mapping[str, Any],
    captured: VllmSchema,
) -> Option:
    meta = find_meta(field)
    members = [member for member in described.get("anyOf", ()) if member.get("type") != "null"]
    schema = _keep_keywords({**described, **members[0]} if members else described)
    kind = schema.get("type", "string")
    if "enum" in schema:
        schema.pop("type")
    name = group.env_prefix + path[1].upper()
    variable = meta.env or name
    return Option(
        name=variable,
        key=variable.lower(),
        kind=kind if kind in ("boolean", *NUMBER_KINDS) else "string",
        schema=schema,
        description=" ".join((field.description or "").split()),
        title=meta.title or humanize(name),
        category=group.title or humanize(path[0]),
        default=field.default,
        field=path,
        vllm_name=meta.vllm_name,
        flag=captured.options[meta.vllm_name]["x-flag"] if meta.vllm_name else None,
        secret=SecretStr in union_members(field.annotation),
        default_text=meta.default_text,
        console=meta.console and group.console,
        zero_is_unset=excludes_zero(schema),
        **_presentation(meta),
    )


def _engine_option(key: str, captured: VllmSchema) -> Option:
    entry, override = captured.options[key], OVERRIDES.get(key, Override())
    schema = {**_keep_keywords(entry), **override.schema}
    variable = override.env or key.upper()
    group = entry["x-group"]
    return Option(
        name=variable,
        key=key,
        kind=entry["x-kind"],
        schema=schema,
        description=entry.get("description", ""),
        title=override.title or humanize(variable),
        category=override.category or group.removesuffix("Config") or group,
        default=override.default,
        engine_default=entry.get("default"),
        vllm_name=key,
        flag=entry["x-flag"],
        known_values=tuple(captured.names.get(key, override.known_values)),
        default_text=override.default_text or _machine_default(override, entry.get("default")),
        console=override.category is not None,
        zero_is_unset=override.zero_is_unset or excludes_zero(schema),
        accepts_pairs=override.accepts_pairs,
        reserved=RESERVED.get(key),
        **_presentation(override),
    )


def _keep_keywords(described: Mapping[str, Any]) -> dict[str, Any]:
    return {keyword: described[keyword] for keyword in KEYWORDS if keyword in described}


def _presentation(meta: Meta) -> dict[str, Any]:
    names = ("aliases", "unit", "example", "advanced")
    return {name: getattr(meta, name) for name in names}


def _machine_default(override: Override, engine_default: Any) -> str | None:
    """Return in words a default that depends on the machine."""
    if override.default_gpu is not None:
        return f"`{override.default_gpu}` on a GPU"
    if override.default_cpu is not None:
        texts = [str(value).lower() for value in (engine_default, override.default_cpu)]
        return f"`{texts[0]}`; `{texts[1]}` without a GPU"
    return None


def excludes_zero(schema: Mapping[str, Any]) -> bool:
    """Whether 0 is out of the schema's range: a form's 0 can then only mean "empty"."""
    return bool(schema.get("minimum", 0) > 0 or schema.get("exclusiveMinimum", -1) >= 0)


def humanize(name: str) -> str:
    """Return a label for a name: `GPU_MEMORY_UTILIZATION` -> `GPU memory utilization`."""
    words = name.lower().split("_")
    text = " ".join(CAPITALS.get(word, word) for word in words if word not in UNITS)
    return text[:1].upper() + text[1:]
