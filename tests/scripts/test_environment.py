"""What the installer decides; that it installs is shown by every run of CI from a fresh clone."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("environment", ROOT / "scripts/environment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["environment"] = module
    spec.loader.exec_module(module)
    return module


script: Any = load_script()


@pytest.fixture
def project(tmp_path: Path) -> Any:
    """A checkout whose `.venv` looks installed."""
    project = script.Project(tmp_path)
    (tmp_path / "requirements").mkdir()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    project.lock.write_text("# comment\naiohttp==3\ntorch==2+cpu\n")
    (tmp_path / "tools").mkdir()
    for folder in project.packages:
        (folder / "pyproject.toml").write_text('requires-python = ">=3.11,<3.14"\n')
    project.python.touch()
    project.worker.touch()
    script.write_stamp(project, script.compute_fingerprints(project, sys.version))
    return project


@pytest.fixture
def ran(project: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The steps that an install runs, by name; each only notes that it ran."""
    steps: list[str] = []

    def note(name: str) -> Any:
        def step(target: Any) -> None:
            steps.append(name)
            target.python.parent.mkdir(parents=True, exist_ok=True)
            target.python.touch()
            target.worker.touch()

        return step

    for name in ("create_venv", "sync_packages", "add_worker"):
        monkeypatch.setattr(script, name, note(name))
    return steps


ALL = ["create_venv", "sync_packages", "add_worker"]


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (lambda p: None, []),
        (lambda p: p.pyproject.write_text("new"), ALL[2:]),
        (lambda p: (p.root / "tools/pyproject.toml").write_text("new"), ALL[2:]),
        (lambda p: p.worker.unlink(), ALL[2:]),
        (lambda p: p.lock.write_text("aiohttp==4\n"), ALL[1:]),
        (lambda p: p.stamp.write_text("of another Python or place\n"), ALL),
        (lambda p: p.stamp.unlink(), ALL),
        (lambda p: p.python.unlink(), ALL),
        (lambda p: p.stamp.write_text(p.stamp.read_text().split()[0]), ALL),
    ],
    ids=[
        "nothing-changed",
        "pyproject-changed",
        "pyproject-of-the-tools-changed",
        "command-missing",
        "lock-changed",
        "other-python",
        "never-finished",
        "python-gone",
        "cut-off-among-packages",
    ],
)
def test_install_does_what_is_needed(
    project: Any, ran: list[str], harm: Any, expected: list[str]
) -> None:
    harm(project)
    script.install(project)
    assert ran == expected
    ran.clear()
    script.install(project)
    assert ran == []


def test_install_failed_step_is_done_again(
    project: Any, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = script.sync_packages

    def fail(_: Any) -> None:
        raise script.InstallError("no connection")

    project.lock.write_text("aiohttp==4\n")
    monkeypatch.setattr(script, "sync_packages", fail)
    with pytest.raises(script.InstallError):
        script.install(project)
    monkeypatch.setattr(script, "sync_packages", sync)
    script.install(project)
    assert ran == ALL


@pytest.mark.parametrize(
    ("python", "platform", "problem"),
    [
        ((3, 11), "linux", None),
        ((3, 13), "linux", None),
        ((3, 10), "linux", r"Python 3\.11 to 3\.13 is needed; .* is 3\.10\..*PYTHON=python3\.11"),
        ((3, 14), "linux", r"is 3\.14"),
        ((3, 12), "darwin", "Linux container"),
    ],
    ids=["lowest", "highest", "too-old", "too-new", "not-linux"],
)
def test_check_machine_names_what_is_missing(
    project: Any, python: tuple[int, int], platform: str, problem: str | None
) -> None:
    if problem is None:
        script.check_machine(project, python, platform)
    else:
        with pytest.raises(script.InstallError, match=problem):
            script.check_machine(project, python, platform)


@pytest.mark.parametrize(
    ("config", "name", "expected"),
    [
        ("", "find-links", []),
        ("global.find-links='/a /b'", "find-links", ["/a", "/b"]),
        ("global.find-links='\\n/a\\n/b'", "find-links", ["/a", "/b"]),
        ("global.find-links='/a'\n:env:.find-links='/c'", "find-links", ["/c"]),
        ("global.cert='/a'\ninstall.cert='/b'", "cert", ["/b"]),
        (
            "global.index-url='https://u:p=q@host/simple'",
            "index-url",
            ["https://u:p=q@host/simple"],
        ),
        ("global.extra-index-url='file:///x'", "index-url", []),
    ],
    ids=["none", "words", "lines", "environment-wins", "install-wins", "equals-sign", "other-name"],
)
def test_read_pip_option(config: str, name: str, expected: list[str]) -> None:
    assert script.read_pip_option(config, name) == expected


def test_build_uv_environment_hands_on_what_uv_was_not_told() -> None:
    config = "global.find-links='/a /b'\nglobal.index-url='https://mirror/simple'\n"
    environ = {"PATH": "/bin", "UV_DEFAULT_INDEX": "https://own/simple"}
    assert script.build_uv_environment(environ, config) == {
        "PATH": "/bin",
        "UV_DEFAULT_INDEX": "https://own/simple",
        "UV_FIND_LINKS": "/a,/b",
    }


def test_choose_torch_source_prefers_a_wheel_at_hand(tmp_path: Path) -> None:
    from_index = ["--torch-backend", "cpu"]
    assert script.choose_torch_source({}) == from_index
    assert script.choose_torch_source({"UV_FIND_LINKS": str(tmp_path)}) == from_index
    (tmp_path / "torch-2.0.0+cpu-cp39-cp39-linux_x86_64.whl").touch()
    assert script.choose_torch_source({"UV_FIND_LINKS": str(tmp_path)}) == from_index
    tag = f"cp3{sys.version_info.minor}"
    (tmp_path / f"torch-2.0.0+cpu-{tag}-{tag}-linux_x86_64.whl").touch()
    for place in (str(tmp_path), f"https://elsewhere/,file://{tmp_path}"):
        assert script.choose_torch_source({"UV_FIND_LINKS": place}) == []


def test_run_failure_names_the_command_and_the_way_on(project: Any) -> None:
    command = [sys.executable, "-c", "raise SystemExit(7)"]
    with pytest.raises(script.InstallError, match=r"python.* -c .*status 7.*same again"):
        script.run(command, project, {})


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, 0), (script.InstallError("no pip"), 1), (KeyboardInterrupt(), 130)],
    ids=["done", "failed", "interrupted"],
)
def test_run_step_failure_is_one_line_and_a_status(
    project: Any,
    capsys: pytest.CaptureFixture[str],
    error: BaseException | None,
    status: int,
) -> None:
    def step(_: Any) -> None:
        if error is not None:
            raise error

    assert script.run_step("install", step, project) == status
    assert capsys.readouterr().err.startswith("make install: " if status else "")
