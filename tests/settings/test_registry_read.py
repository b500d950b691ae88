"""A declared setting is also read: docs, forms and schemas promise an effect."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.settings.registry import SOURCES, load_registry

WORKER = Path(__file__).parents[2] / "worker"
PACKAGE = WORKER / "settings"

WITHIN = {
    ("adapters", "lora_allowed"): "becomes a variable of vLLM's process",
    ("cluster", "gpus"): "checked against the GPUs that are visible",
    ("cluster", "own_address"): "becomes variables of vLLM and NCCL",
    ("cluster", "multi_node"): "decides `size` and `is_follower`",
    ("endpoint", "health_port"): "becomes a port in `choose_ports`",
    ("endpoint", "http_port"): "becomes a port in `choose_ports`",
    ("endpoint", "mode"): "decides the mode in `choose_mode`",
    ("logging", "engine_level"): "becomes vLLM's own variable",
    ("model", "speculation"): "becomes vLLM's `speculative_config`",
    ("requests", "max_stop_strings"): "becomes vLLM's own variable",
    ("startup", "cache_path"): "becomes `Settings.cache`",
    ("startup", "profile"): "becomes options of vLLM",
}
"""Settings whose value leaves the package in another form."""


def find_reads(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each `group.field` that a module reads, e.g. in `settings.serving.self_test`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            yield name, node.attr


OUTSIDE = {
    read
    for path in WORKER.rglob("*.py")
    if not path.is_relative_to(PACKAGE)
    for read in find_reads(path)
}
OPTIONS = [option for option in load_registry().options if option.field is not None]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_declared_setting_is_read_outside_the_package(option):
    group, _ = option.field

    # What vLLM gets is in the argument list; a source's own settings are read by the source.
    if option.flag is None and group != SOURCES and option.field not in WITHIN:
        assert option.field in OUTSIDE


def test_exceptions_are_declared_and_needed():
    declared = {option.field for option in OPTIONS}

    assert set(WITHIN) <= declared
    assert not set(WITHIN) & OUTSIDE


def test_settings_of_sources_are_read_by_their_key():
    text = "".join(path.read_text() for path in PACKAGE.rglob("*.py") if path.name != "groups.py")
    own = [option for option in OPTIONS if option.field[0] == SOURCES]

    unread = [o.name for o in own if f'"{o.key}"' not in text and f".{o.field[1]}" not in text]
    assert unread == []
