"""What the installer decides; that it installs is shown by every run of CI from a fresh clone."""

from __future__ import annotations

import importlib.util
import re
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
def test_check_machine(
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
def test_main_status(
    project: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException | None,
    status: int,
) -> None:
    def verb(_: Any) -> None:
        if error is not None:
            raise error

    monkeypatch.setitem(script.VERBS, "install", verb)
    assert script.main(["install"], project) == status
    assert capsys.readouterr().err.startswith("make install: " if status else "")


@pytest.mark.parametrize("arguments", [[], ["remove"], ["install", "lock"]], ids=str)
def test_main_other_arguments_show_the_usage(
    project: Any, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert script.main(arguments, project) == 2
    assert capsys.readouterr().err == "usage: environment.py install|lock\n"


def read_pins(name: str) -> list[str]:
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    return [line.removesuffix(" \\") for line in lines if line[:1] not in ("#", " ")]


@pytest.mark.parametrize("name", ["cpu.lock", "image.lock", "sbom.lock"])
def test_lock_names_one_version_each_with_hashes_and_without_places(name: str) -> None:
    pins = read_pins(name)
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.+]+", pin) for pin in pins)
    names = [pin.split("==")[0] for pin in pins]
    assert names == sorted(set(names))
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    hashed = re.findall(r"^([a-z0-9-]+)==\S+ \\\n +--hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert set(names) - set(hashed) == ({"torch"} if name == "cpu.lock" else set())


def test_lock_has_the_cpu_build_of_torch() -> None:
    # The one package whose CPU build differs from the others in its version.
    assert any(re.fullmatch(r"torch==[\d.]+\+cpu", pin) for pin in read_pins("cpu.lock"))


def test_image_lock_is_part_of_the_machines_lock() -> None:
    assert set(read_pins("image.lock")) <= set(read_pins("cpu.lock"))


def test_free_torch_removes_its_hashes_only(tmp_path: Path) -> None:
    lock = tmp_path / "cpu.lock"
    entry = " \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
    lock.write_text(f"six==1{entry}torch==2.13.0+cpu{entry}torch-x==1{entry}")
    script.free_torch(lock)
    assert lock.read_text() == f"six==1{entry}torch==2.13.0+cpu\ntorch-x==1{entry}"
