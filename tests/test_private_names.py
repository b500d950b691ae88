"""Tests use public names of the project only. What no public name shows is not behaviour."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("worker", "tools/worker_tools", "benchmarks", "scripts")
TESTS = [path for path in sorted((ROOT / "tests").rglob("*.py")) if path != Path(__file__)]

PRIVATE = re.compile(r"_[A-Za-z]\w*")
BY_TEXT = {"setattr", "getattr", "delattr", "patch"}
"""Functions that take a name as text."""

IMPORT = re.compile(
    r"\s*from (?:worker|worker_tools|benchmarks|scripts)\b[\w.]* import .*(?<![\w.])(_[A-Za-z]\w*)"
)


def find_names() -> frozenset[str]:
    """Return the names that the project defines: functions, classes and variables."""
    found = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_bytes())):
                match node:
                    case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                        found.add(node.name)
                    case ast.Name(ctx=ast.Store()):
                        found.add(node.id)
                    case ast.Attribute(value=ast.Name("self"), ctx=ast.Store()):
                        found.add(node.attr)
    return frozenset(found)


def names_in(node: ast.AST, defined: frozenset[str]) -> Iterator[str]:
    """Yield the names that a part of a test reads, replaces, imports or overrides.

    A class in a test may have private names of its own, which it reads from `self`. It may not
    override those of a class of the project.
    """
    match node:
        case ast.Attribute(value=ast.Name("self" | "cls")):
            pass
        case ast.Attribute(attr=name):
            yield name
        case ast.Call(func=ast.Attribute(attr=called) | ast.Name(called)) if called in BY_TEXT:
            for given in node.args[:2]:
                if isinstance(given, ast.Constant):
                    yield str(given.value).rpartition(".")[2]
        case ast.ImportFrom(names=names):
            yield from (alias.name for alias in names)
        case ast.ClassDef(bases=bases) if any(
            isinstance(base, ast.Name) and base.id in defined for base in bases
        ):
            methods = ast.FunctionDef | ast.AsyncFunctionDef
            yield from (item.name for item in node.body if isinstance(item, methods))
        case ast.Constant(value=str(program)):
            lines = program.split("\n")
            yield from (found[1] for line in lines if (found := IMPORT.match(line)))


def find_uses(text: str, defined: frozenset[str]) -> list[str]:
    """Return the private names of the project that a test uses."""
    return [
        name
        for node in ast.walk(ast.parse(text))
        for name in names_in(node, defined)
        if PRIVATE.fullmatch(name) and name in defined
    ]


@pytest.fixture(scope="module")
def defined() -> frozenset[str]:
    return find_names()


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_tests_use_no_private_name(path: Path, defined: frozenset[str]) -> None:
    used = set(find_uses(path.read_text(), defined))
    assert used == set(), "test public behaviour, or make the name public"


EXAMPLE = frozenset({"Folder", "_lock"})


@pytest.mark.parametrize(
    "text",
    [
        "folder._lock.close()",
        "assert super()._lock",
        "monkeypatch.setattr(folder, '_lock', 1)",
        "monkeypatch.setattr('worker.engine.folder._lock', 1)",
        "getattr(folder, '_lock')",
        "from worker.engine.folder import _lock",
        "PROGRAM = '\\nfrom worker.engine.folder import Folder, _lock\\n'",
        "class Fake(Folder):\n    def _lock(self): ...",
    ],
)
def test_find_uses_finds(text: str) -> None:
    assert find_uses(text, EXAMPLE) == ["_lock"]


@pytest.mark.parametrize(
    "text",
    [
        "self._lock = 1",
        "_lock = 1",
        "os._exit(3)",
        "folder.lock",
        "folder.__dict__",
        "class Fake(Other):\n    def _lock(self): ...",
    ],
)
def test_find_uses_allows(text: str) -> None:
    assert find_uses(text, EXAMPLE) == []
