"""A module's tests are found by its name: `worker/a/b.py` -> `tests/a/test_b.py`, `test_b_*.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
HOMES = {
    "scripts": ROOT / "scripts",
    "benchmarks": ROOT / "benchmarks",
    "tools": ROOT / "tools/worker_tools",
}
"""Folders of tests that do not mirror a part of the worker -> what they test."""

NO_MIRROR = {"clients", "e2e", "fakes", "image", "support"}

ABOUT_OTHER_FILES = {
    "test_architecture.py": "docs/architecture.md",
    "test_costs.py": "worker",
    "test_docs.py": "docs",
    "test_mirror.py": "tests",
    "test_moving_vllm.py": "docs/moving-vllm.md",
    "test_patterns.py": "worker",
    "test_private_names.py": "tests",
    "test_project.py": "worker",
    "test_prose.py": "docs",
    "test_readme.py": "README.md",
    "test_wheel.py": "pyproject.toml",
    "profile/test_profiles.py": "profiles",
    "profile/test_profiles_acceptance.py": "profiles",
    "profile/test_profiles_matches.py": "profiles",
    "scripts/test_workflows.py": ".github/workflows",
}
"""Tests of other files than modules, or of all modules -> what they test."""

MODULE_LINES = 200
"""A module with more lines has tests under its name."""

TESTED_BY = {
    "benchmarks/systems.py": "tests/benchmarks/test_measure.py",
    "tools/worker_tools/dev/job.py": "tests/tools/dev/test_store.py",
    "worker/bake/download.py": "tests/bake/test_command.py",
    "worker/engine/child.py": "tests/e2e/test_vllm_contract.py",
    "worker/request/codes.py": "tests/request/test_engine_error.py",
    "worker/request/compat.py": "tests/request/test_parameters.py",
    "worker/request/validation.py": "tests/request/test_job.py",
    "worker/serve/proxy.py": "tests/serve/test_server.py",
    "worker/settings/groups.py": "tests/settings/test_load_environments.py",
    "worker/settings/yaml_sources.py": "tests/settings/test_load_precedence.py",
}
"""Declarations, and parts that work only in their whole -> where they are tested."""

RUN_BY_HAND = {"benchmarks/offline.py"}
"""Measurements of real engines without logic to test apart from them."""


def list_test_modules() -> list[str]:
    found = (path.relative_to(TESTS) for path in TESTS.rglob("test_*.py"))
    return sorted(path.as_posix() for path in found if path.parts[0] not in NO_MIRROR)


def modules_of(test: str) -> list[Path]:
    """Return the modules and packages that a test module's name can stand for."""
    first, *rest = Path(test).parts
    home = HOMES.get(first, ROOT / "worker")
    folder = home.joinpath(*(rest if first in HOMES else (first, *rest))).parent
    words = Path(test).stem.removeprefix("test_").split("_")
    names = ["_".join(words[:count]) for count in range(len(words), 0, -1)]
    paths = [folder / name for name in names]
    return [
        *(path.with_suffix(".py") for path in paths if path.with_suffix(".py").is_file()),
        *(path for path in paths if (path / "__init__.py").is_file()),
    ]


@pytest.mark.parametrize("test", list_test_modules())
def test_test_module_names_the_module_that_it_tests(test):
    named = modules_of(test)
    assert bool(named) != (test in ABOUT_OTHER_FILES), named
    assert named or (ROOT / ABOUT_OTHER_FILES[test]).exists()


def test_large_module_has_a_test_module():
    tested = {path for test in list_test_modules() for path in modules_of(test)[:1]}
    large = {
        path
        for home in (ROOT / "worker", *HOMES.values())
        for path in home.rglob("*.py")
        if path.read_text(encoding="utf-8").count("\n") > MODULE_LINES
    }
    untested = {path.relative_to(ROOT).as_posix() for path in large - tested}
    assert untested == {*TESTED_BY, *RUN_BY_HAND}
    assert [test for test in TESTED_BY.values() if not (ROOT / test).exists()] == []
