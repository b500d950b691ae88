"""The options of `vllm serve` as data: what `worker capture` stored of the pinned vLLM."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

SCHEMA_PATH = Path(__file__).with_name("schema.json")


@dataclass(frozen=True, slots=True)
class VllmSchema:
    """What the pinned vLLM accepts.

    Attributes:
        version: vLLM's release, e.g. `0.32.0`.
        options: JSON Schema of each option, by the name of its attribute, in vLLM's order.
        names: Registered names that vLLM checks only at start, by option, e.g. tool parsers.
        environment: vLLM's own environment variables, which it reads itself.
        chat_templates: Names of the chat templates that vLLM brings.
        deprecated_quantization: Methods that need ALLOW_DEPRECATED_QUANTIZATION.
        architectures: Names of model architectures, by what they do.
    """

    version: str
    options: Mapping[str, Mapping[str, Any]]
    names: Mapping[str, list[str]]
    environment: frozenset[str]
    chat_templates: frozenset[str]
    deprecated_quantization: frozenset[str]
    architectures: Mapping[str, list[str]]


@functools.cache
def read_schema() -> VllmSchema:
    """Read the capture, once per process."""
    data = orjson.loads(SCHEMA_PATH.read_bytes())
    return VllmSchema(
        version=data["x-vllm-version"],
        options=data["properties"],
        names=data["x-names"],
        environment=frozenset(data["x-environment"]),
        chat_templates=frozenset(data["x-chat-templates"]),
        deprecated_quantization=frozenset(data["x-deprecated-quantization"]),
        architectures=data["x-architectures"],
    )
