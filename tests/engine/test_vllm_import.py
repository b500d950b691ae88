"""Imports that are shortened, without vLLM."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from worker.engine import vllm_import
from worker.engine.vllm_import import (
    AfterImport,
    LazyDistributions,
    compile_at_first_call,
    defer_inductor,
    read_models_once,
    record_structure,
    remember_packages,
)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on Python's path; the modules in it are forgotten at the end."""
    known = set(sys.modules)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def own_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore what the patch of the package metadata replaces."""
    for name in ("entry_points", "packages_distributions"):
        monkeypatch.setattr(importlib.metadata, name, getattr(importlib.metadata, name))


@pytest.mark.usefixtures("own_metadata")
def test_remembered_entry_points_are_the_installed_ones() -> None:
    groups = ("console_scripts", "pytest11", "no.such.group")
    expected = [set(importlib.metadata.entry_points(group=group)) for group in groups]

    remember_packages()

    assert [set(importlib.metadata.entry_points(group=group)) for group in groups] == expected
    assert expected[0]


@pytest.mark.usefixtures("own_metadata")
def test_remembered_entry_points_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    installed = importlib.metadata.entry_points()
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda: reads.append(0) or installed)

    remember_packages()
    for _ in range(3):
        importlib.metadata.entry_points(group="console_scripts")

    assert len(reads) == 1


def test_distribution_of_the_packages_own_name_is_found_without_reading_all() -> None:
    def read_all() -> dict[str, list[str]]:
        raise AssertionError("all metadata was read")

    lazy = LazyDistributions(read_all)

    assert lazy["pytest"] == ["pytest"]
    assert lazy.get("no_such_package", []) == []
    assert "no_such_package" not in lazy


def test_distribution_of_another_name_is_the_installed_one() -> None:
    expected = importlib.metadata.packages_distributions()
    lazy = LazyDistributions(importlib.metadata.packages_distributions)

    assert lazy["yaml"] == expected["yaml"]
    assert set(lazy) == set(expected)
    assert len(lazy) == len(expected)


def test_module_that_cannot_be_imported_is_left_out() -> None:
    vllm_import.import_all(["no.such.module", "colorsys"])


def test_function_is_called_once_after_the_import_of_its_module(packages: Path) -> None:
    write(packages / "outer" / "__init__.py")
    write(packages / "outer" / "inner.py", "VALUE = 1")
    called = []

    AfterImport("outer.inner", lambda module: called.append(module.VALUE))
    importlib.import_module("outer")
    assert called == []
    importlib.import_module("outer.inner")
    importlib.reload(sys.modules["outer.inner"])

    assert called == [1]


OVERRIDE = """
names = ["aten::index_add"]
def _patch_inductor_fallback_allow_list():
    try:
        from torch._inductor import lowering
    except ImportError:
        return
    lowering.NAMES = ["patched", *lowering.NAMES]
_patch_inductor_fallback_allow_list()
"""


@pytest.fixture
def own_torch(packages: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages named like PyTorch and vLLM; Inductor's modules leave a trace."""
    for name in list(sys.modules):
        if name.partition(".")[0] in ("torch", "vllm"):
            monkeypatch.delitem(sys.modules, name)
    write(packages / "torch" / "__init__.py")
    write(packages / "torch" / "_inductor" / "__init__.py")
    write(packages / "torch" / "_inductor" / "lowering.py", 'NAMES = ["own"]')
    write(packages / "vllm" / "__init__.py", "import vllm.env_override")
    write(packages / "vllm" / "env_override.py", OVERRIDE)
    return packages


@pytest.mark.usefixtures("own_torch")
def test_inductor_is_patched_when_it_is_imported_later() -> None:
    defer_inductor()
    assert "torch._inductor" not in sys.modules

    lowering = importlib.import_module("torch._inductor.lowering")

    assert lowering.NAMES == ["patched", "own"]


def test_inductor_that_vllm_needs_at_once_is_imported(own_torch: Path) -> None:
    write(own_torch / "vllm" / "env_override.py", "import torch._inductor.lowering")

    defer_inductor()
    importlib.import_module("vllm")

    assert "torch._inductor.lowering" in sys.modules


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What a stand-in for `torch.compile` was called with."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def compile_now(model: Any, **options: Any) -> Any:
        calls.append((getattr(model, "__name__", "object"), options))
        return model

    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(compile=compile_now))
    compile_at_first_call()
    return calls


def test_decorated_function_is_compiled_once_at_its_first_call(
    compiled: list[tuple[str, dict[str, Any]]],
) -> None:
    torch: Any = sys.modules["torch"]

    @torch.compile(dynamic=True)
    def double(number: int) -> int:
        return 2 * number

    @torch.compile
    def half(number: int) -> float:
        return number / 2

    assert compiled == []
    assert [double(2), double(3), half(3)] == [4, 6, 1.5]
    assert compiled == [("double", {"dynamic": True}), ("half", {})]
    assert double.__name__ == "double"


def test_object_is_compiled_at_once(compiled: list[tuple[str, dict[str, Any]]]) -> None:
    torch: Any = sys.modules["torch"]

    assert torch.compile(self := object(), backend="eager") is self
    assert compiled == [("object", {"backend": "eager"})]


class Reader(types.SimpleNamespace):
    """A stand-in for transformers' module with the function that reads its models."""

    def __init__(self, root: Path) -> None:
        write(root / "models" / "__init__.py")
        write(root / "models" / "llama" / "__init__.py")
        super().__init__(__file__=str(root / "utils" / "import_utils.py"), reads=[])
        self.create_import_structure_from_path = self.read

    def read(self, path: Any) -> dict[frozenset[str], set[str]]:
        self.reads.append(str(path))
        return {frozenset({"torch"}): {Path(path).name}}


def test_names_of_all_models_are_read_once(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    read_models_once(reader, tmp_path / "none")
    folder = tmp_path / "models"

    found = [
        reader.create_import_structure_from_path(path)
        for path in (folder, str(folder), str(folder / "__init__.py"), folder / "llama")
    ]

    assert found == 3 * [{frozenset({"torch"}): {"models"}}] + [{frozenset({"torch"}): {"llama"}}]
    assert reader.reads == [str(folder), str(folder / "llama")]


@pytest.mark.parametrize("version", ["5.0", "5.1"])
def test_written_list_of_names_counts_for_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    writer, reader, target = Reader(tmp_path), Reader(tmp_path), tmp_path / "list"
    monkeypatch.setitem(sys.modules, "transformers.utils.import_utils", writer)
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: "5.0")
    record_structure(target)
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: version)

    read_models_once(reader, target)
    found = reader.create_import_structure_from_path(tmp_path / "models")

    assert found == {frozenset({"torch"}): {"models"}}
    assert len(reader.reads) == (version != "5.0")


@pytest.mark.parametrize("content", [b"", b"no marshal", b"i\x01\x00\x00\x00"])
def test_damaged_list_of_names_is_not_used(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list").write_bytes(content)

    assert vllm_import.load_structure(tmp_path / "list") is None
