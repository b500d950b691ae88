"""`worker capture`: read the installed vLLM's options and store them beside the settings."""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from worker.config.captured import CAPTURE_PATH
from worker.errors import ExitCode, WorkerError

MODULE = "worker.capture.engine"


def capture_text() -> str:
    """Return the installed vLLM's options as the text of the capture file.

    vLLM is imported in a process of its own: it takes about ten seconds and leaves its mark on
    whatever process imports it.

    Raises:
        WorkerError: When vLLM is not installed or its options cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "capture.json"
        environ = {**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"}
        command = [sys.executable, "-m", MODULE, str(target)]
        result = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)  # noqa: S603
        if result.returncode or not target.exists():
            last = (result.stderr.strip().splitlines() or ["no output"])[-1]
            raise WorkerError(
                f"cannot read vLLM's options: {last}. Is vLLM installed in this environment?"
            )
        return target.read_text() + "\n"


def difference(old: str, new: str) -> str:
    """Return a unified diff of two captures, empty when they are equal."""
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), "committed", "installed", lineterm="", n=2
    )
    return "\n".join(lines)


def run_capture() -> int:
    """Write the capture of the installed vLLM and say what changed; return the exit status."""
    console = Console()
    with console.status("Reading vLLM's options (about ten seconds)"):
        text = capture_text()
    old = CAPTURE_PATH.read_text() if CAPTURE_PATH.exists() else ""
    changes = difference(old, text)
    CAPTURE_PATH.write_text(text)
    if changes:
        console.print(changes, highlight=False, markup=False)
        console.print("Captured. Now run: worker render")
    else:
        console.print("No option changed.")
    return ExitCode.OK
