"""`worker capture`: read options and request models off the installed vLLM and store them."""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from worker.config.captured import CAPTURE_PATH
from worker.errors import ExitCode, UnavailableError, WorkerError

ROOT = Path(__file__).resolve().parents[2]

OPTIONS = "worker.capture.engine"
REQUESTS = "worker.capture.requests"
"""Programs that import vLLM, each in a process of its own: the import takes about ten seconds and
leaves its mark on whatever process does it."""


def capture_text() -> str:
    """Return the installed vLLM's options as the text of the capture file.

    Raises:
        WorkerError: When vLLM is not installed or its options cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "capture.json"
        _run(OPTIONS, target)
        return target.read_text() + "\n"


def capture_files() -> dict[str, str]:
    """Return the installed vLLM's request models: path below the project's folder -> text.

    Raises:
        WorkerError: When vLLM is not installed or its models cannot be read.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run(REQUESTS, folder)
        files = sorted(folder.rglob("*.json"))
        return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def _run(module: str, target: Path) -> None:
    """Run one of the programs, which writes its capture to `target`."""
    environ = {**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"}
    command = [sys.executable, "-m", module, str(target)]
    result = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode or not target.exists():
        last = (result.stderr.strip().splitlines() or ["no output"])[-1]
        raise WorkerError(
            f"cannot read vLLM's interface: {last}. Is vLLM installed in this environment?"
        )


def difference(old: str, new: str) -> str:
    """Return a unified diff of two captures, empty when they are equal."""
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), "committed", "installed", lineterm="", n=2
    )
    return "\n".join(lines)


def run_capture() -> int:
    """Write the capture of the installed vLLM and say what changed; return the exit status.

    Raises:
        UnavailableError: When the package is installed without its project.
        WorkerError: When vLLM cannot be read.
    """
    if not (ROOT / "pyproject.toml").exists():
        raise UnavailableError(
            f"worker capture: {ROOT} is not a checkout of the project; run it in one"
        )
    console = Console()
    with console.status("Reading vLLM's options and request models (about 25 seconds)"):
        files = {CAPTURE_PATH: capture_text()}
        files |= {ROOT / path: text for path, text in capture_files().items()}
    changed = False
    for path, text in files.items():
        changes = difference(path.read_text() if path.exists() else "", text)
        path.write_text(text)
        changed |= bool(changes)
        if changes:
            console.print(f"{path.relative_to(ROOT)}\n{changes}", highlight=False, markup=False)
    console.print("Captured. Now run: worker render" if changed else "Nothing changed.")
    return ExitCode.OK
