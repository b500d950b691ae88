"""Resolve requirements/*.lock from pyproject.toml: `make lock`.

Standard library only, as `scripts/environment.py`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from environment import (
    CLIENT_GROUPS,
    Project,
    choose_torch_source,
    create_venv,
    find_project,
    read_uv_environment,
    run,
    run_step,
)

LOCK_TARGET = ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"]
"""Target of the lock; Python 3.12 and 3.13 resolve to the same versions."""

LOCKED_PARTS = ["pyproject.toml", "tools/pyproject.toml", "--extra", "cpu", "--extra", "demo"]
LOCKED_PARTS += ["--group", "dev", "--no-emit-package", "runpod-vllm-worker"]


def write_locks(project: Project) -> None:
    """Resolve all locks; versions in the current locks are kept if they still match.

    The image's lock is a part of the machine's: it takes its versions from there.
    """
    if not project.uv.exists():
        create_venv(project)
    environ = read_uv_environment(project)
    options = ["--quiet", "--no-emit-find-links", "--no-emit-index-url", "--no-annotate"]
    options += ["--custom-compile-command", "make lock", *LOCK_TARGET]
    hashed, torch = ["--generate-hashes"], choose_torch_source(environ)
    lock = str(project.lock.relative_to(project.root))
    parts: dict[Path, list[str]] = {
        project.lock: [*LOCKED_PARTS, *torch, *hashed],
        project.lock.with_name("image.lock"): ["pyproject.toml", "--constraint", lock, *hashed],
        project.lock.with_name("sbom.lock"): ["--group", "sbom", *hashed],
    }
    parts |= {project.client_lock(name): ["--group", name, *torch] for name in CLIENT_GROUPS}
    for target, part in parts.items():
        command: list[str | Path] = [project.uv, "pip", "compile", *part, *options]
        run([*command, "-o", target.relative_to(project.root)], project, environ)
    free_torch(project.lock)


def free_torch(lock: Path) -> None:
    """Remove torch's hashes from the lock.

    A folder of wheels has torch for one Python only, and the hash of that wheel would refuse the
    others, as would another index's build of the same version.
    """
    text = lock.read_text(encoding="utf-8")
    text = re.sub(r"^(torch==\S+)(?: \\\n +--hash=\S+)+", r"\1", text, flags=re.MULTILINE)
    lock.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run_step("lock", write_locks, find_project()))
