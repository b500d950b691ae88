"""docker-bake.hcl is read by a parser, and each rule finds what breaks it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("lint_bake", ROOT / "scripts/lint_bake.py")
assert spec is not None
assert spec.loader is not None
lint = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lint)

DOCKERFILE = "ARG NAME=x\nFROM base\n"
BAKE = """
variable "NAME" { default = null }
variable "TAG" { default = "latest" }
group "default" { targets = ["worker"] }
target "worker" {
  tags = ["me:${TAG}"]
  args = { NAME = NAME }
}
"""


def test_lint_project_file_has_no_fault() -> None:
    assert lint.main() == 0


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        pytest.param("", "", None, id="nothing"),
        pytest.param("tags = [", "tags = ", "is not HCL", id="syntax"),
        pytest.param('["worker"]', '["work"]', "names a target that is not there", id="target"),
        pytest.param("NAME = NAME", "OTHER = NAME", "which the Dockerfile lacks", id="unknown"),
        pytest.param("NAME = NAME", "", "does not pass the Dockerfile's NAME", id="missing"),
        pytest.param(
            "NAME = NAME", "NAME = NAMES", "uses NAMES, which is not a variable", id="name"
        ),
        pytest.param("${TAG}", "${TAGS}", "uses TAGS, which is not a variable", id="in a string"),
    ],
)
def test_lint_broken_file_names_the_fault(old: str, new: str, fault: str | None) -> None:
    faults = list(lint.find_faults(BAKE.replace(old, new) if old else BAKE, DOCKERFILE))

    assert any(fault in found for found in faults) if fault else faults == []
