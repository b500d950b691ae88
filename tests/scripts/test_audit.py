import importlib.util
import urllib.error
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "audit.py"
spec = importlib.util.spec_from_file_location("audit", SCRIPT)
assert spec is not None
assert spec.loader is not None
audit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(audit)


def unreachable() -> bytes:
    raise urllib.error.URLError("no route")


@pytest.mark.parametrize(
    ("read", "words"),
    [
        pytest.param(unreachable, "no route", id="unreachable"),
        pytest.param(lambda: b"<html>", "Expecting value", id="not-json"),
        pytest.param(lambda: b"[]", "without advisories", id="no-object"),
        pytest.param(lambda: b'{"info": {}}', "without advisories", id="a-mirror"),
    ],
)
def test_obstacle_is_named(read, words):
    assert words in audit.find_obstacle(read)


def test_source_with_advisories_is_no_obstacle():
    assert audit.find_obstacle(lambda: b'{"vulnerabilities": []}') is None


def test_main_without_advisories_passes_with_a_notice(monkeypatch, capsys):
    monkeypatch.setattr(audit, "find_obstacle", lambda: "no route")
    assert audit.main() == 0
    assert "audit skipped" in capsys.readouterr().out


def test_main_with_advisories_has_the_tools_status(monkeypatch):
    monkeypatch.setattr(audit, "find_obstacle", lambda: None)
    monkeypatch.setattr(audit, "audit", lambda lock: 1 if lock.name == "cpu.lock" else 0)
    assert audit.main() == 1
