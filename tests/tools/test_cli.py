"""The commands of the tools, and the pages that list them."""

import re
from pathlib import Path

from worker_tools.cli import app

ROOT = Path(__file__).parents[2]
COMMANDS = {
    command.name or command.callback.__name__
    for command in app.registered_commands
    if command.callback is not None
}


def test_readme_lists_every_command():
    text = (ROOT / "tools/README.md").read_text(encoding="utf-8")

    assert set(re.findall(r"`worker ([\w-]+)`", text)) == COMMANDS


def test_commands_are_grouped_by_who_needs_them():
    assert all(command.rich_help_panel for command in app.registered_commands)
