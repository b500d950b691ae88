"""`make lint` finds a broken workflow file; the release builds the base that it resolved."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RELEASE = ROOT / ".github/workflows/release.yml"
TOOLS = {
    "check-jsonschema": ["--builtin-schema", "vendor.github-workflows"],
    "zizmor": ["--offline", "--quiet", "--strict-collection"],
}


def lint(tool: str, path: Path) -> int:
    program = Path(sys.executable).with_name(tool)
    return subprocess.run(
        [program, *TOOLS[tool], path], capture_output=True, check=False
    ).returncode


@pytest.mark.parametrize(
    ("tool", "old", "new"),
    [
        pytest.param("check-jsonschema", "runs-on:", "runs-one:", id="key"),
        pytest.param("zizmor", "11bd71901bbe5b1630ceea73d27597364c9af683", "main", id="unpinned"),
        pytest.param("zizmor", '"$name"', '"${{ github.ref_name }}"', id="injection"),
    ],
)
def test_lint_broken_workflow_fails(tool: str, old: str, new: str, tmp_path: Path) -> None:
    text = RELEASE.read_text()
    broken = tmp_path / "release.yml"
    broken.write_text(text.replace(old, new))

    assert lint(tool, RELEASE) == 0
    assert lint(tool, broken) != 0


def release_scripts() -> list[str]:
    steps = yaml.safe_load(RELEASE.read_text())["jobs"]["image"]["steps"]
    return [step["run"] for step in steps if "run" in step]


def test_release_names_the_image_in_lower_case(tmp_path: Path) -> None:
    target = tmp_path / "environment"
    environ = {"GITHUB_REPOSITORY": "My-Org/Worker", "GITHUB_ENV": str(target)}

    subprocess.run(["/bin/bash", "-euc", release_scripts()[0]], env=environ, check=True)

    assert target.read_text() == "IMAGE=ghcr.io/my-org/worker\n"


def test_release_builds_the_digest_that_it_resolved_and_records_it() -> None:
    _name, resolve, build, record = release_scripts()
    assert "VLLM_IMAGE=docker.io/vllm/vllm-openai@$digest" in resolve
    assert "org.opencontainers.image.base.digest=$BASE_DIGEST" in build
    assert "env.BASE_DIGEST" in record
    assert 'variable "VLLM_IMAGE"' in (ROOT / "docker-bake.hcl").read_text()
