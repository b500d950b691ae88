"""Read every option of `vllm serve` from the installed vLLM: its parser and configuration classes.

`python -m worker_tools.capture.engine FILE` writes the capture to FILE as JSON.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from dataclasses import MISSING
from typing import Any

import orjson
import vllm
import vllm.envs
from vllm.engine import arg_utils
from vllm.model_executor.layers.quantization import (
    DEPRECATED_QUANTIZATION_METHODS,
    QUANTIZATION_METHODS,
)
from vllm.model_executor.model_loader import _LOAD_FORMAT_TO_MODEL_LOADER
from vllm.model_executor.models import registry
from vllm.reasoning import ReasoningParserManager
from vllm.tokenizers.registry import TokenizerRegistry
from vllm.tool_parsers import ToolParserManager
from vllm.transformers_utils.chat_templates.registry import CHAT_TEMPLATES_DIR
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.attention.backends.registry import AttentionBackendEnum

from worker.engine.child import load_cli_args
from worker_tools.capture.json_schema import (
    Schema,
    accepts_text,
    annotation_schema,
    apply_bounds,
    clean_text,
    json_default,
)

CLI_ARGS = load_cli_args()

ARCHITECTURES = {
    "text generation": registry._TEXT_GENERATION_MODELS,
    "images, audio, video": registry._MULTIMODAL_MODELS,
    "embedding": registry._EMBEDDING_MODELS,
    "late interaction": registry._LATE_INTERACTION_MODELS,
    "classification and reranking": registry._SEQUENCE_CLASSIFICATION_MODELS,
    "token classification": registry._TOKEN_CLASSIFICATION_MODELS,
    "reward": registry._REWARD_MODELS,
    "through transformers": registry._TRANSFORMERS_SUPPORTED_MODELS,
}
"""Architectures by task, without draft models, which are not served on their own."""

MARK = "\0"
"""Separates help text from the `Class.field` that an option comes from."""

NOT_OPTIONS = ("help", "model_tag")
"""`model_tag` is the positional spelling of `--model`."""

ACTION_KINDS: tuple[tuple[type[argparse.Action], str], ...] = (
    (argparse.BooleanOptionalAction, "switch"),
    (argparse._StoreTrueAction, "flag"),
    (argparse._AppendAction, "repeated"),
    (CLI_ARGS.LoRAParserAction, "lora-modules"),
)
"""Kinds that depend on the class of the action. vLLM derives some classes from argparse's."""

KINDS = {
    "int": "integer",
    "float": "number",
    "str": "string",
    "human_readable_int": "human-integer",
    "human_readable_int_or_auto": "human-integer-or-auto",
    "loads": "json",
    "union_dict_and_str": "object-or-string",
    "parse_dataclass": "object",
}


def capture() -> Schema:
    """Return the JSON Schema of all options of the installed vLLM's server."""
    parser, classes = _build_parser()
    titles = {
        id(action): group.title
        for group in parser._action_groups
        for action in group._group_actions
    }
    options = {
        action.dest: _capture_option(action, titles[id(action)] or "", classes)
        for action in parser._actions
        if action.dest not in NOT_OPTIONS
    }
    return {
        "x-vllm-version": _version(),
        "x-names": {
            "tool_call_parser": sorted(ToolParserManager.list_registered()),
            "reasoning_parser": sorted(ReasoningParserManager.list_registered()),
            "quantization": sorted(QUANTIZATION_METHODS),
            "load_format": sorted(_LOAD_FORMAT_TO_MODEL_LOADER),
            "attention_backend": sorted(AttentionBackendEnum.__members__),
            "tokenizer_mode": sorted({"auto", *TokenizerRegistry.tokenizers}),
        },
        "x-chat-templates": sorted(path.name for path in CHAT_TEMPLATES_DIR.glob("*.jinja")),
        "x-deprecated-quantization": sorted(DEPRECATED_QUANTIZATION_METHODS),
        "x-environment": sorted(vllm.envs.environment_variables),
        "x-architectures": {task: sorted(models) for task, models in ARCHITECTURES.items()},
        "properties": options,
    }


def _version() -> str:
    """Return vLLM's release without the build's local part (`0.32.0+cpu` -> `0.32.0`)."""
    version = getattr(vllm, "__version__", None) or importlib.metadata.version("vllm")
    return str(version).split("+", 1)[0]


def _build_parser() -> tuple[argparse.ArgumentParser, dict[str, Any]]:
    """Build vLLM's parser; append the field that declares an option to the option's help."""
    classes: dict[str, Any] = {}
    original = arg_utils.get_kwargs

    def get_kwargs(cls: Any) -> dict[str, dict[str, Any]]:
        classes[cls.__name__] = cls
        options: dict[str, dict[str, Any]] = original(cls)
        for name, option in options.items():
            option["help"] = f"{option.get('help') or ''}{MARK}{cls.__name__}.{name}"
        return options

    # vLLM reads docstrings only for --help.
    arg_utils.NEEDS_HELP = True
    arg_utils.get_kwargs = get_kwargs
    try:
        return CLI_ARGS.make_arg_parser(FlexibleArgumentParser()), classes
    finally:
        arg_utils.get_kwargs = original


def _capture_option(action: argparse.Action, group: str, classes: dict[str, Any]) -> Schema:
    text, _, origin = (action.help or "").partition(MARK)
    class_name, _, field = origin.partition(".")
    info = getattr(classes.get(class_name), "__pydantic_fields__", {}).get(field)
    kind, nullable = option_kind(action)
    if kind == "object-or-string" and info is not None and not accepts_text(info.annotation):
        # vLLM's parser accepts any text, but its configuration rejects it.
        kind = "json"
    schema = (
        apply_bounds(annotation_schema(info.annotation), info.metadata) if info is not None else {}
    )
    entry: Schema = {**_typed(kind, schema, action)}
    default = json_default(action.default)
    if default is not MISSING and default != argparse.SUPPRESS:
        entry["default"] = default
    description = clean_text(text)
    if description:
        entry["description"] = description
    entry["x-kind"] = kind
    entry["x-flag"] = next(flag for flag in action.option_strings if flag.startswith("--"))
    entry["x-group"] = group if group.endswith("Config") or group == "Frontend" else "Server"
    if nullable:
        entry["x-nullable"] = True
    if origin:
        entry["x-source"] = origin
    return entry


def option_kind(action: argparse.Action) -> tuple[str, bool]:
    """Return how the option is written on a command line, and whether it may be None.

    Raises:
        ValueError: The option takes no value, and its action is not in `ACTION_KINDS`.
    """
    name, nullable = _type_name(action.type)
    for action_class, kind in ACTION_KINDS:
        if isinstance(action, action_class):
            return kind, nullable
    if action.nargs == 0:
        raise ValueError(
            f"the option {action.dest} takes no value, and its class {type(action).__name__} "
            "is not in worker_tools.capture.engine.ACTION_KINDS"
        )
    if action.dest == "device_ids":
        return "comma-list", nullable
    kind = KINDS.get(name, "string")
    if action.nargs in ("+", "*"):
        return ("integer-list" if kind == "integer" else "list"), nullable
    return kind, nullable


def _type_name(converter: Any) -> tuple[str, bool]:
    """Unwrap vLLM's `optional_type(parse_type(x))` to the name of `x`."""
    nullable = False
    while converter is not None:
        name: str = getattr(converter, "__qualname__", "str")
        if not name.startswith(("optional_type", "parse_type")):
            return name.rsplit(".", 1)[-1], nullable
        nullable = nullable or name.startswith("optional_type")
        converter = converter.__closure__[0].cell_contents
    return "str", nullable


def _typed(kind: str, schema: Schema, action: argparse.Action) -> Schema:
    """Return the part of the annotation's schema that applies to this kind of option."""
    choices = [choice for choice in action.choices or () if choice is not None]
    if choices and kind != "list":
        return {"enum": choices}
    numeric = _branch(schema, ("integer", "number")) or {}
    if kind in ("switch", "flag"):
        return {"type": "boolean"}
    if kind in ("integer", "human-integer", "human-integer-or-auto"):
        return {**numeric, "type": "integer"}
    if kind == "number":
        return {**numeric, "type": "number"}
    if kind == "object":
        return _branch(schema, ("object",)) or {"type": "object"}
    if kind in ("list", "integer-list", "repeated", "comma-list"):
        items: Schema = {"enum": choices} if choices else {}
        if kind == "integer-list":
            items = {"type": "integer"}
        return {"type": "array", "items": items or {"type": "string"}}
    if kind == "lora-modules":
        return _branch(schema, ("array",)) or {"type": "array"}
    if kind == "json":
        return _branch(schema, ("object", "array")) or ({"type": "object"} if not schema else {})
    return {"type": "string"} if kind == "string" else {}


def _branch(schema: Schema, wanted: tuple[str, ...]) -> Schema | None:
    if schema.get("type") in wanted:
        return schema
    found = [s for s in schema.get("anyOf", []) if s.get("type") in wanted]
    return found[0] if len(found) == 1 else None


if __name__ == "__main__":
    # Not to stdout, because vLLM may log there while it is imported.
    with open(sys.argv[1], "wb") as file:
        file.write(orjson.dumps(capture(), option=orjson.OPT_INDENT_2))
