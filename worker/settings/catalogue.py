"""Every settable name in one list: the worker's own settings and all options of `vllm serve`."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from worker.settings.field import WORDS, Words
from worker.settings.groups import WorkerSettings
from worker.vllm_options.annotation import bounded, describe
from worker.vllm_options.option import Option
from worker.vllm_options.overrides import OVERRIDES, RESERVED, Override
from worker.vllm_options.schema import VllmSchema, read_schema

KINDS = {"boolean": "boolean", "integer": "integer", "number": "number"}
CATEGORIES = {
    "model": "Model",
    "serving": "Serving",
    "endpoint": "Endpoint",
    "cluster": "Several machines",
    "startup": "Start-up",
    "requests": "Requests",
    "streaming": "Streaming",
    "logging": "Logging",
    "storage": "Storage",
    "sources": "Configuration",
}
SCHEMA_KEYWORDS = (
    "type",
    "enum",
    "items",
    "properties",
    "additionalProperties",
    "required",
    "minimum",
    "maximum",
    "exclusiveMinimum",
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
class Catalogue:
    """All options, findable by every spelling.

    Attributes:
        options: In the order of docs: the worker's groups, then vLLM's own order.
        by_variable: By environment variable, aliases included.
        by_key: By spelling in files: lower case of every variable, and vLLM's own name.
        by_engine_key: Engine options by vLLM's own name.
        version: Release of vLLM that the options belong to.
        engine_variables: Variables that vLLM reads itself.
    """

    options: tuple[Option, ...]
    by_variable: Mapping[str, Option]
    by_key: Mapping[str, Option]
    by_engine_key: Mapping[str, Option]
    version: str
    engine_variables: frozenset[str]

    def settable(self) -> Iterator[Option]:
        """Yield the options that a user may set."""
        return (option for option in self.options if option.reserved is None)


@functools.cache
def read_catalogue() -> Catalogue:
    """Build the catalogue, once per process."""
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
    by_key: dict[str, Option] = {}
    for option in options:
        if option.reserved is None:
            for name in (option.name, *option.aliases):
                by_variable[name] = option
                by_key[name.lower()] = option
        by_key[option.key] = option
        by_key[option.engine_key or option.key] = option
    return Catalogue(
        options=options,
        by_variable=by_variable,
        by_key=by_key,
        by_engine_key={option.engine_key: option for option in options if option.engine_key},
        version=captured.version,
        engine_variables=captured.environment,
    )


def _worker_options(captured: VllmSchema) -> Iterator[Option]:
    for group, info in WorkerSettings.model_fields.items():
        model: Any = info.annotation
        for name, field in model.model_fields.items():
            yield _worker_option(group, name, field, captured)


def _worker_option(group: str, name: str, field: FieldInfo, captured: VllmSchema) -> Option:
    extra: Any = field.json_schema_extra
    words: Words = extra[WORDS]
    schema = bounded(describe(field.annotation), field.metadata)
    branches = [branch for branch in schema.get("anyOf", []) if branch.get("type") != "null"]
    schema = branches[0] if branches else schema
    variable = words.env or name.upper()
    default = field.default.get_secret_value() if _is_secret(field.default) else field.default
    return Option(
        name=variable,
        key=variable.lower(),
        kind=KINDS.get(schema.get("type", ""), "string"),
        schema=schema,
        description=field.description or "",
        title=words.title or spell(variable),
        category=CATEGORIES[group],
        default=default,
        field=(group, name),
        engine_key=words.option,
        flag=captured.options[words.option]["x-flag"] if words.option else None,
        aliases=words.aliases,
        unit=words.unit,
        example=words.example,
        unset=words.unset,
        secret=words.secret,
        console=words.console,
        advanced=words.advanced,
        zero_is_unset=excludes_zero(schema),
    )


def _engine_option(key: str, entry: Mapping[str, Any], captured: VllmSchema) -> Option:
    overlay = OVERRIDES.get(key, Override())
    schema = {word: entry[word] for word in SCHEMA_KEYWORDS if word in entry}
    schema.update(overlay.bounds)
    variable = overlay.env or key.upper()
    return Option(
        name=variable,
        key=key,
        kind=entry["x-kind"],
        schema=schema,
        description=entry.get("description", ""),
        title=overlay.title or spell(variable),
        category=overlay.category or _category(entry["x-group"]),
        default=overlay.default,
        engine_default=entry.get("default"),
        engine_key=key,
        flag=entry["x-flag"],
        aliases=overlay.aliases,
        names=tuple(captured.names.get(key, overlay.names)),
        unit=overlay.unit,
        example=overlay.example,
        unset=overlay.unset or _machine_default(overlay, entry.get("default")),
        console=overlay.category is not None,
        advanced=overlay.advanced,
        zero_is_unset=overlay.zero_is_unset or excludes_zero(schema),
        pairs=overlay.pairs,
        reserved=RESERVED.get(key),
    )


def _machine_default(overlay: Override, engine_default: Any) -> str | None:
    """Return in words a default that depends on the machine."""
    if overlay.default_gpu is not None:
        return f"`{overlay.default_gpu}` on a GPU"
    if overlay.default_cpu is not None:
        texts = [str(value).lower() for value in (engine_default, overlay.default_cpu)]
        return f"`{texts[0]}`; `{texts[1]}` without a GPU"
    return None


def _is_secret(value: Any) -> bool:
    return isinstance(value, SecretStr)


def _category(group: str) -> str:
    """Return a heading for vLLM's configuration class, e.g. `Cache` for `CacheConfig`."""
    return group.removesuffix("Config") or group


def excludes_zero(schema: Mapping[str, Any]) -> bool:
    """Whether 0 is out of the schema's range, so that a form's 0 can only mean "empty"."""
    return bool(schema.get("minimum", 0) > 0 or schema.get("exclusiveMinimum", -1) >= 0)


def spell(variable: str) -> str:
    """Return a label for a variable: `GPU_MEMORY_UTILIZATION` -> `GPU memory utilization`."""
    words = [CAPITALS.get(word, word) for word in variable.lower().split("_")]
    text = " ".join(words)
    return text[:1].upper() + text[1:]
