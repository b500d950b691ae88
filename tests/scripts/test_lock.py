"""The locks as they are; `make lock` itself needs a package index."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("lock")


def read_pins(name: str) -> list[str]:
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    return [line.removesuffix(" \\") for line in lines if line[:1] not in ("#", " ")]


@pytest.mark.parametrize("name", ["cpu.lock", "image.lock", "sbom.lock"])
def test_lock_names_one_version_each_with_hashes_and_without_places(name: str) -> None:
    pins = read_pins(name)
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.+]+", pin) for pin in pins)
    names = [pin.split("==")[0] for pin in pins]
    assert names == sorted(set(names))
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    hashed = re.findall(r"^([a-z0-9-]+)==\S+ \\\n +--hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert set(names) - set(hashed) == ({"torch"} if name == "cpu.lock" else set())


def test_lock_has_the_cpu_build_of_torch() -> None:
    # The one package whose CPU build differs from the others in its version.
    assert any(re.fullmatch(r"torch==[\d.]+\+cpu", pin) for pin in read_pins("cpu.lock"))


def test_image_lock_is_part_of_the_machines_lock() -> None:
    assert set(read_pins("image.lock")) <= set(read_pins("cpu.lock"))


def test_free_torch_removes_its_hashes_only(script: ModuleType, tmp_path: Path) -> None:
    lock = tmp_path / "cpu.lock"
    entry = " \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
    lock.write_text(f"six==1{entry}torch==2.13.0+cpu{entry}torch-x==1{entry}")
    script.free_torch(lock)
    assert lock.read_text() == f"six==1{entry}torch==2.13.0+cpu\ntorch-x==1{entry}"
