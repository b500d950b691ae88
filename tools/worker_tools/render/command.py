"""`worker render`: write the generated files, or report which are stale."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal

from rich.console import Console

from worker.errors import ExitCode, UnavailableError
from worker.settings.registry import load_registry
from worker_tools.render.outputs import ROOT, render_all

Mode = Literal["write", "check", "dry-run"]
MOST_LINES = 100
"""Lines of the diff that a check prints."""

COMMAND = "worker render"


def run_render(mode: Mode = "write", *, root: Path = ROOT, console: Console | None = None) -> int:
    """Update the generated files.

    Args:
        mode: `write` them, `check` that they are current, or print them (`dry-run`).
        root: Folder of the project.
        console: Where to print; None is stdout.

    Returns:
        Exit status: 1 if a check found a stale file.

    Raises:
        UnavailableError: The package is installed without a checkout of the project.
    """
    if root == ROOT and not (root / "pyproject.toml").exists():
        raise UnavailableError(f"{COMMAND}: {root} is not a checkout of the project; run it in one")
    out = console or Console(highlight=False)
    files = render_all(load_registry(), root)
    if mode == "dry-run":
        for path, text in files.items():
            out.print(f"==> {path}\n{text}", markup=False, soft_wrap=True)
        return ExitCode.OK
    stale = {path: text for path, text in files.items() if _current(root / path) != text}
    if mode == "check":
        return _report(stale, root, out)
    for path, text in stale.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        out.print(f"written: {path}", markup=False)
    if not stale:
        out.print(f"All {len(files)} generated files are up to date.")
    return ExitCode.OK


def difference(path: str, root: Path, wanted: str) -> list[str]:
    """Return a unified diff from the current file to the wanted text."""
    current = _current(root / path) or ""
    return list(
        difflib.unified_diff(
            current.splitlines(), wanted.splitlines(), path, f"{path} (wanted)", lineterm="", n=2
        )
    )


def _report(stale: dict[str, str], root: Path, out: Console) -> int:
    if not stale:
        out.print("The generated files are up to date.")
        return ExitCode.OK
    lines = [line for path, text in stale.items() for line in difference(path, root, text)]
    for line in lines[:MOST_LINES]:
        out.print(line, markup=False, soft_wrap=True)
    if len(lines) > MOST_LINES:
        out.print(f"… and {len(lines) - MOST_LINES} more lines")
    out.print(f"\n{len(stale)} generated files are stale: {', '.join(stale)}\nRun: {COMMAND}")
    return ExitCode.FAILURE


def _current(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
