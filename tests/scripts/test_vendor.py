"""The vendored front-end files are as pinned, with their licences."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VENDOR = runpy.run_path(str(ROOT / "scripts/vendor.py"))
PACKAGES = VENDOR["PACKAGES"]


@pytest.mark.parametrize("package", PACKAGES)
def test_files_are_as_pinned(package):
    assert VENDOR["find_changed"](package) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_folder_has_the_licence_and_nothing_that_is_not_pinned(package):
    folder = ROOT / PACKAGES[package][0]
    pinned = json.loads((folder / "vendor.json").read_text())
    assert {path.name for path in folder.iterdir()} == {"vendor.json", *pinned["sha256"]}
    assert "LICENSE" in pinned["sha256"]
    assert pinned["version"]


def test_changed_file_is_found(tmp_path, monkeypatch):
    (tmp_path / "x.js").write_text("changed")
    (tmp_path / "vendor.json").write_text('{"sha256": {"x.js": "0", "absent.js": "0"}}')
    monkeypatch.setitem(VENDOR["PACKAGES"], "x", (str(tmp_path), ()))
    assert VENDOR["find_changed"]("x") == [str(tmp_path / "x.js"), str(tmp_path / "absent.js")]
