"""Convert resolved values to arguments of vLLM's own parser."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from worker.settings.registry import Option
from worker.settings.values import ResolvedValue

CLUSTER_OPTIONS = frozenset({"nnodes", "node_rank", "master_addr", "master_port"})
"""Options of vLLM that only a cluster gives; a machine alone must not pass them on."""


def build_arguments(values: Iterable[ResolvedValue], machines: int = 1) -> list[str]:
    """Return vLLM's arguments for all values that are engine options, in the given order.

    Args:
        values: What was set, and computed defaults.
        machines: That serve together; a machine alone gets no options of a cluster.

    Source:
        `vllm.utils.argparse_utils.FlexibleArgumentParser`, vLLM 0.32.0.
    """
    arguments: list[str] = []
    for item in values:
        is_alone = machines == 1 and item.option.vllm_name in CLUSTER_OPTIONS
        if item.option.flag is not None and not item.option.secret and not is_alone:
            arguments += format_option(item.option, item.value)
    return arguments


def format_option(option: Option, value: Any) -> list[str]:
    """Return one option as vLLM's command line spells it."""
    flag = option.flag or ""
    if option.kind == "switch":
        return [flag if value else f"--no-{flag[2:]}"]
    if option.kind == "flag":
        return [flag] if value else []
    if option.kind == "repeated":
        return [part for item in value for part in _pair(flag, str(item))]
    if option.kind == "comma-list":
        return _pair(flag, ",".join(str(item) for item in value))
    if option.kind == "lora-modules":
        return [flag, *(_compact(item) for item in value)]
    if isinstance(value, dict) or option.kind == "json":
        return _pair(flag, _compact(value))
    if isinstance(value, list) and len(value) == 1:
        return _pair(flag, str(value[0]))
    if isinstance(value, list):
        return [flag, *(str(item) for item in value)]
    return _pair(flag, str(value))


def _pair(flag: str, text: str) -> list[str]:
    """Return flag and value; joined where argparse would take the value for another flag."""
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
