"""The README holds what it says; its requests are sent in tests/e2e/test_readme.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.markdown import (
    DEMO_MODEL,
    LOCAL_URL,
    README,
    RUNPOD_URL,
    Block,
    read_blocks,
)
from worker_tools.demo.conversation import NATIVE_QUESTION, STREAMED_QUESTION
from worker_tools.demo.model import MODEL_NAME

ROOT = README.parent
TEXT = README.read_text(encoding="utf-8")
BLOCKS = read_blocks()
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_every_code_block_of_the_readme_has_a_test() -> None:
    for block in BLOCKS:
        # tests/test_docs.py checks the commands of Docker and of the worker.
        known = block.is_request or block.text.startswith(("make ", "docker ", "worker "))
        known = known or block.language == "text"
        assert known, f"README.md:{block.line}: nothing checks this block"


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.text.startswith("make ")], ids=lambda b: b.text.strip()
)
def test_make_commands_are_run_by_ci(block: Block) -> None:
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    for command in block.text.splitlines():
        assert any(line.startswith(command) for line in ci), f"{command} is not in .ci/run"


def test_make_targets_named_in_the_text_exist() -> None:
    targets = set(re.findall(r"^(\w+):", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"`make (\w+)`", TEXT))
    assert named
    assert named <= targets


def test_shown_output_is_that_of_the_demo() -> None:
    [shown] = [block.text for block in BLOCKS if block.language == "text"]
    assert f"> {STREAMED_QUESTION}\nThe capital of France is Paris.\nTTFT " in shown
    assert f"> {NATIVE_QUESTION}\nThe capital of Japan is Tokyo.\n" in shown
    assert shown.splitlines()[-1].startswith("Stopped, nothing keeps running; ")


def test_requests_go_to_runpod_and_to_the_demo_model() -> None:
    requests = [block for block in BLOCKS if block.is_request]
    assert [block.language for block in requests] == ["bash", "bash", "python", "bash"]
    assert DEMO_MODEL == MODEL_NAME
    for request in requests:
        aimed = request.aim("http://127.0.0.1:1/v2/local", "tiny")
        assert LOCAL_URL not in aimed
        assert RUNPOD_URL not in aimed
    assert "tiny" in requests[0].aim("http://127.0.0.1:1/v2/local", "tiny")


def test_links_and_paths_exist() -> None:
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", TEXT)
    mapped = re.findall(r"`((?:worker|tools|docs|schemas|tests|profiles)/[\w/.]*)`", TEXT)
    assert len(linked) > 3
    assert len(mapped) > 8
    missing = [path for path in (*linked, *mapped) if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("package", ["worker", "tools/worker_tools"])
def test_map_has_every_part_of_the_package(package: str) -> None:
    parts = {path.parent.name for path in Path(ROOT, package).glob("*/__init__.py")}
    assert parts
    assert parts <= set(re.findall(rf"`{package}/(\w+)/`", TEXT))
