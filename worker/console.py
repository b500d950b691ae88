"""Output of the commands: a console, JSON, and configuration problems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json
from rich.console import Console
from rich.markup import escape

from worker.errors import Problem, shorten

LOG_WIDTH = 160
"""Columns of the output to a file or log."""


def open_console(*, stderr: bool = False) -> Console:
    """Return a console; its output to a file or log is wide."""
    console = Console(highlight=False, stderr=stderr)
    if console.is_terminal:
        return console
    return Console(highlight=False, stderr=stderr, width=LOG_WIDTH)


def problem_data(problem: Problem) -> dict[str, Any]:
    """Return a problem as data."""
    return {
        "where": problem.where,
        "message": problem.message,
        "got": problem.got,
        "expected": problem.expected,
        "suggestions": list(problem.suggestions),
        "docs": f"docs/{problem.anchor}" if problem.anchor else None,
    }


def print_json(out: Console, data: dict[str, Any]) -> None:
    """Print data as one indented JSON object."""
    # orjson refuses integers of more than 64 bits, which a setting may have.
    text = to_json(data, indent=2, fallback=str, inf_nan_mode="null").decode()
    out.print(text, markup=False, soft_wrap=True)


def report_problems(
    problems: Sequence[Problem],
    *,
    console: Console | None = None,
    consequence: str = "the worker would not start",
) -> None:
    """Print each problem as one paragraph: value, expectation, nearest name, docs.

    Args:
        problems: What was found; free of secrets.
        console: Where to print; None is stdout.
        consequence: What does not happen because of it.
    """
    out = console or open_console()
    count = len(problems)
    noun = "problem" if count == 1 else "problems"
    out.print(f"[bold red]{count} configuration {noun}[/bold red]; {consequence}.\n")
    for problem in problems:
        out.print(
            f"[bold]{escape(problem.where)}[/bold]: {escape(problem.message)}", soft_wrap=True
        )
        lines = (
            ("value", None if problem.got is None else shorten(problem.got)),
            ("expected", problem.expected),
            ("did you mean", " or ".join(problem.suggestions[:3]) or None),
            ("docs", f"docs/{problem.anchor}" if problem.anchor else None),
        )
        for label, text in lines:
            if text is not None:
                out.print(f"    {label}: {escape(text)}", soft_wrap=True)
