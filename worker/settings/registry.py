"""Every setting in one list: the worker's own and all options of `vllm serve`."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from worker.metadata import find_meta
from worker.settings.groups import WorkerSettings
from worker.settings.option import Option
from worker.vllm_options.overrides import OVERRIDES, RESERVED, Override
from worker.vllm_options.schema import VllmSchema, read_schema

SOURCES = "sources"
"""Group of the settings that only the environment may have."""

KINDS = {"boolean": "boolean", "integer": "integer", "number": "number"}
SCHEMA_KEYWORDS = (
    "type",
    "enum",
    "items",
    "properties",
    "additionalProperties",
    "required",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
)
CAPITALS = {
    "gpu": "GPU",
    "kv": "KV",
    "lora": "LoRA",
    "hf": "Hugging Face",
    "mm": "multimodal",
    "cpu": "CPU",
    "api": "API",
}


@dataclass(frozen=True, slots=True)
class OptionRegistry:
    """All options, by every spelling.

    Attributes:
        options: In the order of docs: the worker's groups, then vLLM's own order.
        by_variable: By environment variable, aliases included.
        by_file_key: By spelling in files: lower case of every variable, and vLLM's own name.
        by_vllm_name: vLLM's options by its own name.
        version: Release of vLLM that the options belong to.
        engine_variables: Variables that vLLM reads itself.
    """

    options: tuple[Option, ...]
    by_variable: Mapping[str, Option]
    by_file_key: Mapping[str, Option]
    by_vllm_name: Mapping[str, Option]
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
    taken = {option.engine_key for option in worker}
    engine = tuple(
        _engine_option(key, schema, captured)
        for key, schema in captured.options.items()
        if key not in taken
    )
    options = (*worker, *engine)
    by_variable: dict[str, Option] = {}
    by_file_key: dict[str, Option] = {}
    for option in options:
        if option.reserved is None:
            for name in (option.name, *option.aliases):
                by_variable[name] = option
                by_file_key[name.lower()] = option
        by_file_key[option.key] = option
        by_file_key[option.engine_key or option.key] = option
    return OptionRegistry(
        options=options,
        by_variable=by_variable,
        by_file_key=by_file_key,
        by_vllm_name={option.engine_key: option for option in options if option.engine_key},
        version=captured.version,
        engine_variables=captured.environment,
    )


def _worker_options(captured: VllmSchema) -> Iterator[Option]:
    for group, info in WorkerSettings.model_fields.items():
        model: Any = info.annotation
        schemas = model.model_json_schema()["properties"]
        for name, field in model.model_fields.items():
            yield _worker_option((group, name), (info, field), schemas[name], captured)


def _worker_option(
    path: tuple[str, str],
    fields: tuple[FieldInfo, FieldInfo],
    described: Mapping[str, Any],
    captured: VllmSchema,
) -> Option:
    group, field = fields
    meta, group_meta = find_meta(field), find_meta(group)
    nullable = [branch for branch in described.get("anyOf", ()) if branch.get("type") != "null"]
    written = {**described, **nullable[0]} if nullable else described
    keywords = (*SCHEMA_KEYWORDS, "minLength", "maxLength", "pattern")
    schema = {key: written[key] for key in keywords if key in written}
    if "enum" in schema:
        schema.pop("type")
    variable = meta.names[0] if meta.names else path[1].upper()
    return Option(
        name=variable,
        key=variable.lower(),
        kind=KINDS.get(schema.get("type", ""), "string"),
        schema=schema,
        description=" ".join((field.description or "").split()),
        title=meta.title or humanize(variable),
        category=group_meta.title or humanize(path[0]),
        default=field.default,
        field=path,
        engine_key=meta.vllm_name,
        flag=captured.options[meta.vllm_name]["x-flag"] if meta.vllm_name else None,
        aliases=meta.names[1:],
        unit=meta.unit,
        example=meta.example,
        default_text=meta.default_text,
        secret=SecretStr in (field.annotation, *getattr(field.annotation, "__args__", ())),
        console=meta.console and group_meta.console,
        advanced=meta.advanced,
        zero_is_unset=excludes_zero(schema),
    )


def _engine_option(key: str, entry: Mapping[str, Any], captured: VllmSchema) -> Option:
    override = OVERRIDES.get(key, Override())
    schema = {word: entry[word] for word in SCHEMA_KEYWORDS if word in entry}
    schema.update(override.bounds)
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
        engine_key=key,
        flag=entry["x-flag"],
        aliases=override.aliases,
        known_values=tuple(captured.names.get(key, override.names)),
        unit=override.unit,
        example=override.example,
        default_text=override.unset or _machine_default(override, entry.get("default")),
        console=override.category is not None,
        advanced=override.advanced,
        zero_is_unset=override.zero_is_unset or excludes_zero(schema),
        accepts_pairs=override.pairs,
        reserved=RESERVED.get(key),
    )


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


def humanize(variable: str) -> str:
    """Return a label for a variable: `GPU_MEMORY_UTILIZATION` -> `GPU memory utilization`."""
    text = " ".join(CAPITALS.get(word, word) for word in variable.lower().split("_"))
    return text[:1].upper() + text[1:]
