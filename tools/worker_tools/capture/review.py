"""Compare two captures of vLLM's options: a summary, and incompatible changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Capture = Mapping[str, Any]
"""A capture file's content, as `worker_tools.capture.engine` writes it."""


def find_incompatible(old: Capture, new: Capture) -> dict[str, str]:
    """Return the options that changed kind or lost choices, each with a description.

    Either vLLM changed the option, or the capture misreads a new form of declaration.
    """
    found = {}
    for name, (before, after) in _common_options(old, new):
        if before["x-kind"] != after["x-kind"]:
            found[name] = f"kind {before['x-kind']} is now {after['x-kind']}"
        elif lost := _choices(before) - _choices(after):
            kept = "some" if _choices(after) else "all"
            found[name] = f"lost {kept} of its choices: {', '.join(sorted(lost))}"
    return found


def summarize(old: Capture, new: Capture) -> list[str]:
    """Return one line for each kind of change; empty if nothing changed."""
    lines = []
    if old["x-vllm-version"] != new["x-vllm-version"]:
        lines.append(f"vLLM {old['x-vllm-version']} -> {new['x-vllm-version']}")
    lines += _compare("options", old["properties"], new["properties"])
    lines += _compare("environment variables", old["x-environment"], new["x-environment"])
    for part in ("x-names", "x-architectures"):
        for name in sorted(old[part].keys() | new[part].keys()):
            title = f"{part.removeprefix('x-')}, {name}"
            lines += _compare(title, old[part].get(name, ()), new[part].get(name, ()))
    for key in ("x-kind", "enum", "items", "default", "type", "properties", "description"):
        changed = [
            name
            for name, (before, after) in _common_options(old, new)
            if before.get(key) != after.get(key)
        ]
        if changed:
            lines.append(f"options with another {key.removeprefix('x-')}: {_count(changed)}")
    return lines


def _common_options(old: Capture, new: Capture) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for name, before in old["properties"].items():
        if name in new["properties"]:
            yield name, (before, new["properties"][name])


def _choices(option: Mapping[str, Any]) -> set[str]:
    return {str(value) for value in option.get("enum", option.get("items", {}).get("enum", ()))}


def _compare(title: str, old: Any, new: Any) -> Iterator[str]:
    added, removed = sorted(set(new) - set(old)), sorted(set(old) - set(new))
    if added:
        yield f"{title} added: {_count(added)}"
    if removed:
        yield f"{title} removed: {_count(removed)}"


def _count(names: list[str]) -> str:
    return f"{len(names)} ({', '.join(names)})"
