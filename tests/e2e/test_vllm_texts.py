"""vLLM's source still has the texts that the worker matches; reads files, starts nothing."""

from __future__ import annotations

import ast
import importlib.util
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from worker.engine.startup_errors import REMEDIES, WRAPPER_MESSAGES
from worker.request.engine_error import TEXT_PATTERNS

TEXTS = yaml.safe_load((Path(__file__).parents[1] / "engine/vllm_texts.yaml").read_text())
CASES = [(kind, text) for kind, texts in TEXTS.items() for text in texts]
PARTS = [text.split("{}") for _kind, text in CASES]
SEAM = re.compile(r"""["']\s+[fr]?["']""")
"""Between two literals that Python joins."""

pytestmark = pytest.mark.contract


def read_texts(path: Path) -> Iterator[str]:
    """Yield the texts in a Python file, with {} where a value goes in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def may_hold(source: str) -> bool:
    """Whether a file may hold one of the texts; to parse all files takes most of a minute."""
    joined = SEAM.sub("", source)
    return any(all(part in joined for part in parts) for parts in PARTS)


@pytest.fixture(scope="module")
def vllm_texts() -> str:
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    files = Path(spec.origin).parent.rglob("*.py")
    candidates = (path for path in files if may_hold(path.read_text(encoding="utf-8")))
    return "\n".join(text for path in candidates for text in read_texts(path))


@pytest.mark.parametrize(("kind", "text"), CASES)
def test_vllm_says_what_the_worker_matches(vllm_texts: str, kind: str, text: str) -> None:
    assert text in vllm_texts, f"{kind}: vLLM words it otherwise now"


@pytest.mark.parametrize(("kind", "text"), CASES)
def test_worker_matches_the_text(kind: str, text: str) -> None:
    said = re.sub(r"\{\}", "3", text)
    patterns = REMEDIES if kind == "start" else TEXT_PATTERNS

    assert said.startswith(WRAPPER_MESSAGES) or any(pattern.search(said) for pattern, _ in patterns)
