"""`worker check`: shows what a start would use, or everything that would stop it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from worker.console import open_console, print_json, problem_data, report_problems
from worker.errors import ConfigurationError, ExitCode, Problem, WorkerError, shorten
from worker.redaction import REDACTED
from worker.settings.load import load_settings
from worker.settings.machine_defaults import DEFAULT, NO_GPU
from worker.settings.settings import Settings
from worker.settings.values import ResolvedValue
from worker.sizing.requirement import check_capacity

EngineCheck = Callable[[Settings, Mapping[str, str]], float]

MAX_VALUE_WIDTH = 60
"""Characters of a value that the table shows; the arguments below it are complete."""


def run_check(
    environ: Mapping[str, str],
    *,
    as_json: bool = False,
    show_all: bool = False,
    check_engine: EngineCheck | None = None,
    console: Console | None = None,
) -> int:
    """Print the resolved configuration, or every problem.

    Args:
        environ: The environment to check.
        as_json: Print one JSON object instead of text; it always has all settings.
        show_all: Print the settings that keep their defaults, too.
        check_engine: Builds vLLM's configuration for the model, too; returns the seconds it took.
        console: Where to print; None is stdout.

    Returns:
        Exit status: 0; 2 when something is wrong; 3 when vLLM refuses; 5 when it is not there.
    """
    out = console or open_console()
    try:
        settings = load_settings(environ)
    except ConfigurationError as error:
        if as_json:
            print_json(out, {"ok": False, "problems": [problem_data(p) for p in error.problems]})
        else:
            report_problems(error.problems, console=out)
        return ExitCode.CONFIGURATION
    warnings = (*settings.warnings, *check_capacity(settings))
    data = describe_settings(settings, warnings) if as_json else {}
    if not as_json:
        _print_settings(out, settings, warnings, show_all=show_all)
    status = ExitCode.OK
    if check_engine is not None:
        try:
            seconds = check_engine(settings, environ)
            engine: dict[str, Any] = {"ok": True, "seconds": round(seconds, 1)}
            text = f"[green]vLLM accepts this configuration[/green] ({seconds:.0f} s)."
        except WorkerError as error:
            status = error.exit_code
            refusal = settings.redact(str(error))
            engine = {"ok": False, "error": refusal}
            text = f"[bold red]vLLM would not start[/bold red]: {escape(refusal)}"
        data |= {"ok": status == ExitCode.OK, "engine": engine}
        if not as_json:
            out.print(f"\n{text}", soft_wrap=True)
    if as_json:
        print_json(out, data)
    return status


def describe_settings(settings: Settings, warnings: Sequence[Problem]) -> dict[str, Any]:
    """Return the configuration as data, secrets hidden."""
    redact = settings.redact
    return {
        "ok": True,
        "settings": [
            {
                "name": item.option.name,
                "value": REDACTED if item.option.secret and item.value else redact.data(item.value),
                "source": item.origin,
                "engine_option": item.option.flag,
            }
            for item in settings.values
        ],
        "engine_arguments": redact.data(settings.engine_arguments()),
        "engine_environment": {
            name: redact(value) for name, value in settings.engine_environment().items()
        },
        "warnings": [problem_data(problem) for problem in warnings],
    }


def _print_settings(
    out: Console, settings: Settings, warnings: Sequence[Problem], *, show_all: bool
) -> None:
    changed = [item for item in settings.values if item.origin != DEFAULT]
    kept = [item for item in settings.values if item.origin == DEFAULT]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Setting", no_wrap=True)
    table.add_column("Value", overflow="fold")
    table.add_column("From", overflow="fold")
    table.add_column("Engine option", no_wrap=True)
    for item in (*changed, *(kept if show_all else ())):
        style = "dim" if item.is_default else None
        table.add_row(
            item.option.name,
            escape(shorten(settings.redact(_value_text(item)), MAX_VALUE_WIDTH)),
            item.origin,
            item.option.flag or "",
            style=style,
        )
    out.print(table)
    if kept and not show_all:
        out.print(
            f"{len(kept)} more settings keep their defaults; `worker check --all` lists them."
        )
    if any(item.origin == NO_GPU for item in settings.values):
        out.print("\nThis machine has no GPU; on one, the values from 'no GPU' do not apply.")
    out.print("\n[bold]Engine arguments[/bold]")
    arguments = map(settings.redact, settings.engine_arguments())
    out.print(shlex.join(arguments), markup=False, soft_wrap=True)
    for problem in warnings:
        out.print(f"[yellow]Warning:[/yellow] {escape(str(problem))}", soft_wrap=True)


def _value_text(item: ResolvedValue) -> str:
    if item.value is None:
        return item.option.default_text or "—"
    if item.option.secret:
        return REDACTED
    if isinstance(item.value, bool):
        return "true" if item.value else "false"
    if isinstance(item.value, (dict, list)):
        plain = isinstance(item.value, list) and all(isinstance(v, (str, int)) for v in item.value)
        return ", ".join(map(str, item.value)) if plain else json.dumps(item.value)
    return f"{item.value:g}" if isinstance(item.value, float) else str(item.value)
