"""The architecture page names modules that exist and the layers as they are."""

import re
import tomllib
from pathlib import Path

import pytest

import worker.cli
import worker_tools.cli

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/architecture.md").read_text()
NAMED = sorted(set(re.findall(r"`((?:worker|tools|tests|profiles)/[\w./-]*)`", PAGE)))
DRAWN = sorted(set(re.findall(r"\[((?:\w+/)*\w+\.py|\w+/\w+)(?:<br>|\])", PAGE)))


@pytest.mark.parametrize("path", [*NAMED, *(f"worker/{path}" for path in DRAWN)])
def test_named_file_or_folder_exists(path):
    assert (ROOT / path).exists()


def test_page_names_and_draws_files():
    assert "worker/settings/groups.py" in NAMED
    assert {"settings/sources.py", "engine/child.py", "handler.py"} <= set(DRAWN)


@pytest.mark.parametrize(
    ("package", "app"), [("worker", worker.cli.app), ("tools/worker_tools", worker_tools.cli.app)]
)
def test_page_lists_the_commands_of_each_package(package, app):
    [row] = re.findall(rf"^\| `{package}/` \| (.*?) \|", PAGE, re.MULTILINE)
    commands = {item.name or item.callback.__name__ for item in app.registered_commands}
    groups = {group.name for group in app.registered_groups}
    assert set(re.findall(r"`(?:worker )?([\w-]+)`", row)) == commands | groups


def test_lowest_layer_is_the_one_that_the_page_names():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    [layers] = [
        contract["layers"]
        for contract in contracts["contracts"]
        if contract.get("containers") == ["worker"]
    ]
    assert f"`worker/{layers[-1]}.py`" in PAGE
