"""Rules of the code base that no linter knows: sizes, names, places."""

from __future__ import annotations

import ast
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = (ROOT / "worker", ROOT / "tools/worker_tools")
MODULES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))

MODULE_LINES = 400
FUNCTION_LINES = 50
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base"}

READS_ENVIRONMENT = {
    "worker/cli.py",
    "worker/engine/adapter_patches.py",
    "worker/engine/child.py",
    "worker/engine/early.py",
    "worker/engine/forking.py",
    "worker/engine/prepared.py",
    "worker/tracing.py",
    "tools/worker_tools/cli.py",
    "tools/worker_tools/capture",
}
"""The command lines, which passes it on; and what runs as a process of vLLM's, which reads it.
Tracing reads a variable of OpenTelemetry, as its SDK does."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", [*MODULES, *TESTS], ids=name_of)
def test_module_and_its_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MODULE_LINES
    long = [
        f"{function.name}: {function.end_lineno - function.lineno + 1} lines"
        for function in functions(ast.parse(text))
        if function.end_lineno and function.end_lineno - function.lineno >= FUNCTION_LINES
    ]
    assert long == []


def test_module_names_say_something() -> None:
    assert [name_of(path) for path in MODULES if path.stem in EMPTY_NAMES] == []


def test_environ_is_read_in_listed_modules_only() -> None:
    found = {
        name_of(path)
        for path in MODULES
        if re.search(r"\bos\.(environ|getenv)\b", path.read_text(encoding="utf-8"))
    }
    strays = {name for name in found if not name.startswith(tuple(READS_ENVIRONMENT))}
    assert strays == set()


def test_packages_hold_no_logic_in_init() -> None:
    for path in MODULES:
        if path.name == "__init__.py":
            body = ast.parse(path.read_text(encoding="utf-8")).body
            logic = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.If, ast.For, ast.Try)
            assert not any(isinstance(node, logic) for node in body), name_of(path)


def test_files_hold_no_path_of_a_machine() -> None:
    places = re.compile(r"/home/(?!you\b)\w+|/Users/\w+|/root/|/opt/wheels|/tmp/\w+")
    hosts = re.compile(r"files\.pythonhosted\.\w+|pypi\.\w{3}/simple|download\.pytorch\.\w+")
    found = []
    for path in tracked_files():
        if path == Path(__file__) or path.suffix == ".png" or not path.exists():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if places.search(line) or hosts.search(line):
                found.append(f"{name_of(path)}:{number}: {line.strip()[:120]}")
    assert found == []


def test_command_line_imports_no_heavy_package() -> None:
    heavy = "{'vllm', 'torch', 'runpod', 'aiohttp', 'openai', 'transformers'}"
    code = f"import sys, worker.cli, worker_tools.cli; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("[]\n", "")


@pytest.mark.parametrize("host", ["192.0.2.1", "example.invalid"])
def test_unit_tests_cannot_leave_the_machine(host: str) -> None:
    with pytest.raises(pytest.fail.Exception, match=host):
        socket.create_connection((host, 9), timeout=0.1)
