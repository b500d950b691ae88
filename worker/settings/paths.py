"""Rules about paths: whether files and folders in the settings can be used."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from worker.errors import Problem, shorten
from worker.models.adapters import read_sources
from worker.models.name import GGUF_INSTEAD, exists, is_gguf_name, is_path
from worker.settings.chat_template import find_template_error, is_template
from worker.settings.sources import Inputs
from worker.settings.values import Values
from worker.vllm_options.schema import read_schema

CONFIGURATIONS = ("config.json", "params.json")
"""One of these makes a folder a model: Hugging Face's form, Mistral's."""

GGUF = "*.gguf"
WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth")
ADAPTER = "adapter_config.json"

MODEL_EXPECTED = "a folder in this container with a model, or a repository id such as org/name"
FOLDER_EXPECTED = "a folder that exists in this container, or a repository id such as org/name"
FILE_EXPECTED = "a path that exists in this container"
ADAPTER_EXPECTED = "an adapter's folder in this container, or a repository id such as org/adapter"

FOLDERS = ("tokenizer", "hf_config_path", "spec_model", "generation_config")
"""Options that name a repository or a folder."""

FILES = (
    *("tool_parser_plugin", "reasoning_parser_plugin", "allowed_local_media_path"),
    "mm_encoder_fp8_scale_path",
)
"""Options that name a file or folder which vLLM reads."""

MEMBERS = (
    ("speculative_config", "model", is_path),
    ("logging_config", "pylogging_config_file", bool),
    ("structured_outputs_config", "reasoning_parser_plugin", bool),
)
"""Members of JSON options that name one, and which of their values are paths."""


def find_model_fault(text: str, *, needs_config: bool = True) -> str | None:
    """Return the problem of a model's folder, None if it is valid.

    Args:
        text: Path of the folder or file.
        needs_config: Whether the folder itself must hold the configuration.
    """
    path = Path(text)
    if not exists(path):
        return "no such folder"
    if path.is_file():
        return "a GGUF file, which this vLLM cannot load" if path.match(GGUF) else None
    others = any(next(path.glob(pattern), None) for pattern in WEIGHTS)
    if not others and next(path.glob(GGUF), None) is not None:
        return "this folder holds GGUF weights only, which this vLLM cannot load"
    if not needs_config or any((path / name).is_file() for name in CONFIGURATIONS):
        return None
    return "this folder holds no model: it has no config.json"


def find_adapter_fault(text: str) -> str | None:
    """Return the problem of a LoRA adapter's folder. Repository ids are not checked."""
    path = Path(text).expanduser() if text.startswith("~") else Path(text)
    if not exists(path):
        return "no such folder" if is_path(text) else None
    return None if (path / ADAPTER).is_file() else f"this folder has no {ADAPTER}"


def _check_template(values: Values, inputs: Inputs) -> Iterator[Problem]:
    template = values.get("chat_template")
    if template is None:
        return
    text = template
    if not is_template(template):
        if template in read_schema().chat_templates or not (inputs.is_local or "/" in template):
            return
        try:
            text = Path(template).read_text(encoding="utf-8")
        except (OSError, ValueError):
            wanted = "a Jinja template or its file's path"
            yield values.problem("chat_template", "no such file", wanted)
            return
    if error := find_template_error(text):
        message = f"not a template that can be used: {error.removesuffix('.')}"
        yield values.problem("chat_template", message, "a Jinja template as transformers takes it")


def _check_model(values: Values, inputs: Inputs) -> Iterator[Problem]:
    model = values.get("model")
    if not isinstance(model, str) or "://" in model:
        return
    if not is_path(model):
        if is_gguf_name(model) and not (inputs.is_local and exists(model)):
            message = "GGUF weights, which this vLLM cannot load"
            yield values.problem("model", message, GGUF_INSTEAD)
    elif inputs.is_local:
        needs_config = values.get("hf_config_path") is None
        if fault := find_model_fault(model, needs_config=needs_config):
            wanted = f"{GGUF_INSTEAD}, or another folder" if "GGUF" in fault else MODEL_EXPECTED
            yield values.problem("model", fault, wanted)


def _check_paths(values: Values, inputs: Inputs) -> Iterator[Problem]:
    """Check that paths exist. Repository ids are not checked."""
    if not inputs.is_local:
        return
    for key in FOLDERS:
        value = values.get(key)
        if isinstance(value, str) and is_path(value) and not exists(value):
            yield values.problem(key, "no such folder", FOLDER_EXPECTED)
    for key in FILES:
        value = values.get(key)
        if isinstance(value, str) and value and not exists(value):
            yield values.problem(key, "no such file or folder", FILE_EXPECTED)
    for key, member, names_path in MEMBERS:
        value = values.get(key)
        path = value.get(member) if isinstance(value, dict) else None
        if isinstance(path, str) and names_path(path) and not exists(path):
            yield values.problem(key, f"no such file or folder at {member}", FILE_EXPECTED)


def _check_adapters(values: Values, inputs: Inputs) -> Iterator[Problem]:
    modules, defaults = values.get("lora_modules") or (), values.get("default_mm_loras") or {}
    named = [("lora_modules", item.get("path")) for item in modules if isinstance(item, dict)]
    named += [("default_mm_loras", path) for path in defaults.values()]
    for key, path in named if inputs.is_local else ():
        if isinstance(path, str) and (fault := find_adapter_fault(path)):
            message = f"an adapter cannot be loaded: {fault}"
            yield dataclasses.replace(values.problem(key, message, ADAPTER_EXPECTED), got=path)


def _check_adapter_folders(values: Values, inputs: Inputs) -> Iterator[Problem]:
    allowed = values.get("lora_allowed")
    if allowed is None or not inputs.is_local:
        return
    for folder in read_sources(allowed).folders:
        if not os.path.isdir(folder):  # Unlike Path's, false for a path that is too long.
            wanted = "folders of this container whose subfolders are adapters"
            yield values.problem("lora_allowed", f"no such folder: {shorten(str(folder))}", wanted)


PATH_RULES = (_check_template, _check_model, _check_paths, _check_adapters, _check_adapter_folders)
