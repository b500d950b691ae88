"""The page about another vLLM names all that the worker uses of it, and tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/moving-vllm.md").read_text()
CONTRACT = (ROOT / "tests/e2e/test_vllm_contract.py").read_text()


IMPORTERS = (
    "adapter_patches",
    "child",
    "forking",
    "startup_patches",
    "vllm_import",
)
"""Modules of the engine that import vLLM."""


def test_page_names_everything_that_the_worker_imports_of_vllm() -> None:
    trees = [ast.parse((ROOT / f"worker/engine/{name}.py").read_text()) for name in IMPORTERS]
    names = {
        alias.asname or alias.name
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vllm"))
        for alias in node.names
        if isinstance(node, ast.ImportFrom) or alias.name.startswith("vllm")
    }

    assert names > {"AsyncEngineArgs", "registry", "cli_args"}
    assert {name for name in names if not re.search(rf"`[^`]*\b{name}\b", PAGE)} == set()


def test_page_lists_every_matched_text() -> None:
    texts = yaml.safe_load((ROOT / "tests/engine/vllm_texts.yaml").read_text())

    assert [text for kind in texts.values() for text in kind if text not in PAGE] == []


def test_page_names_files_and_checks_that_exist() -> None:
    paths = re.findall(r"(?:tests|tools|worker)/[\w/.-]+\.(?:py|yaml)", PAGE)
    table = PAGE.partition("| Guarded by |")[2].partition("\n\n")[0]
    guards = [
        guard
        for row in table.splitlines()[2:]
        for guard in re.findall(r"`([^`]+)`", row.split("|")[3])
    ]

    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert len(guards) > 10
    assert [g for g in guards if not (ROOT / g).exists() and f'"{g}"' not in CONTRACT] == []
