"""`worker capture`: read vLLM's options and request models, compare and store them."""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
from rich.console import Console

from worker.errors import ExitCode, UnavailableError, WorkerError
from worker.settings.groups import RequestSettings
from worker.vllm_options.schema import SCHEMA_PATH
from worker_tools.capture.review import find_incompatible, summarize
from worker_tools.capture.unpacked import build_environment, list_uncaptured

ROOT = Path(__file__).resolve().parents[3]

OPTIONS = "worker_tools.capture.engine"
REQUESTS = "worker_tools.capture.requests"
"""Programs that import vLLM, each in a separate process: the import takes about ten seconds and
changes global state."""


def capture_text(environ: Mapping[str, str] | None = None) -> str:
    """Return vLLM's options as the text of the capture file.

    Args:
        environ: Additional variables for the program, such as the path of another vLLM.

    Raises:
        WorkerError: When vLLM is not installed or its options cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "capture.json"
        _run(OPTIONS, target, environ or {})
        return target.read_text() + "\n"


def capture_files(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return vLLM's request models: path below the project's folder -> text.

    Args:
        environ: As for `capture_text`.

    Raises:
        WorkerError: When vLLM is not installed or its models cannot be read.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run(REQUESTS, folder, environ or {})
        files = sorted(folder.rglob("*.json"))
        return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def _run(module: str, target: Path, environ: Mapping[str, str]) -> None:
    """Run one of the programs, which writes its capture to `target`."""
    stop_strings = RequestSettings.model_fields["max_stop_strings"].default
    environ = {
        **os.environ,
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_MAX_STOP_STRINGS": str(stop_strings),
        **environ,
    }
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
        old.splitlines(), new.splitlines(), "committed", "new", lineterm="", n=2
    )
    return "\n".join(lines)


def run_capture(unpacked: Path | None = None, accepted: Sequence[str] = ()) -> int:
    """Capture vLLM's interface, print what changed and return the exit status.

    Args:
        unpacked: A folder with an unpacked wheel of vLLM. It is compared; nothing is written.
        accepted: Options that may change kind or lose choices.
    """
    try:
        capture(unpacked, accepted)
    except WorkerError as error:
        print(f"worker capture: {error}", file=sys.stderr)
        return int(error.exit_code)
    return ExitCode.OK


def capture(unpacked: Path | None = None, accepted: Sequence[str] = ()) -> None:
    """Capture vLLM's interface, as `run_capture` describes.

    Raises:
        UnavailableError: When the package is installed without its project.
        WorkerError: When vLLM cannot be read, or an option changed that is not in `accepted`.
    """
    if not (ROOT / "pyproject.toml").exists():
        raise UnavailableError(f"{ROOT} is not a checkout of the project; run it in one")
    console = Console(soft_wrap=True, highlight=False, markup=False)
    uncaptured = list_uncaptured(unpacked) if unpacked else []
    environ = build_environment(unpacked) if unpacked else {}
    with console.status("Reading vLLM's options and request models (about 25 seconds)"):
        files = {SCHEMA_PATH: capture_text(environ)}
        files |= {ROOT / path: text for path, text in capture_files(environ).items()}
    changes = {
        path: change
        for path, text in files.items()
        if (change := difference(path.read_text() if path.exists() else "", text))
    }
    for path, change in changes.items():
        console.print(f"{path.relative_to(ROOT)}\n{change}")
    old, new = orjson.loads(SCHEMA_PATH.read_bytes()), orjson.loads(files[SCHEMA_PATH])
    for line in summarize(old, new):
        console.print(line)
    for line in uncaptured:
        console.print(f"Not captured: {line}")
    _reject_incompatible(find_incompatible(old, new), accepted)
    if unpacked:
        console.print(f"Compared with {unpacked}; nothing was written.")
        return
    for path in changes:
        path.write_text(files[path])
    console.print("Captured. Now run: worker render" if changes else "Nothing changed.")


def _reject_incompatible(lost: Mapping[str, str], accepted: Sequence[str]) -> None:
    allowed = {name.lower() for name in accepted}
    refused = {name: what for name, what in lost.items() if name not in allowed}
    if refused:
        listed = "".join(f"\n  {name.upper()}: {what}" for name, what in refused.items())
        flags = " ".join(f"--accept {name.upper()}" for name in refused)
        raise WorkerError(
            f"options changed incompatibly; nothing was written:{listed}\n"
            f"If vLLM made these changes, add: {flags}. If the capture misread them, correct "
            "tools/worker_tools/capture/engine.py."
        )
