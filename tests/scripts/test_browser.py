"""Which ways to a browser are tried, and what is said where none works."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "browser.py"


@pytest.fixture
def script() -> Any:
    spec = importlib.util.spec_from_file_location("browser", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def commands(script, monkeypatch) -> list[str]:
    """What was run; every command fails."""
    ran: list[str] = []

    def run(command, **_):
        ran.append(" ".join(command))
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(script.subprocess, "run", run)
    return ran


def have(script, monkeypatch, *names, user=0):
    monkeypatch.setattr(script.shutil, "which", lambda name: name if name in names else None)
    monkeypatch.setattr(script.os, "geteuid", lambda: user)


def test_browser_that_is_there_is_kept(script, commands, monkeypatch):
    have(script, monkeypatch, "chromium", "apt-get")
    assert script.main() == 0
    assert commands == []


@pytest.mark.parametrize(
    ("names", "user", "tried"),
    [
        pytest.param(["apt-get"], 0, ["apt-get", "playwright install"], id="Debian"),
        pytest.param(["apt-get"], 1000, ["playwright install"], id="not root"),
        pytest.param([], 0, ["playwright install"], id="another system"),
    ],
)
def test_every_way_is_tried_and_failure_is_shown(
    script, commands, monkeypatch, capsys, names, user, tried
):
    have(script, monkeypatch, *names, user=user)
    assert script.main() == 0
    assert all(words in command for words, command in zip(tried, commands, strict=True))
    assert "WARNING" in capsys.readouterr().out
