"""`worker profiles`: list the profiles or print one of them."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from worker.console import open_console, report_problems
from worker.errors import ConfigurationError, ExitCode, Problem
from worker.machine import GIB, MachineInfo
from worker.profile import PROFILES, Profile, load_all
from worker.profile.model import FACTS
from worker.settings.load import load_settings
from worker.settings.settings import Settings
from worker.settings.yaml_sources import read_profile
from worker.sizing import formatting

LABELS = {
    "architecture": "architecture",
    "parameters": "parameters",
    "active_parameters": "active parameters",
    "weight_bytes": "weights",
    "encoder_bytes": "encoders",
    "context": "context length, tokens",
    "attention": "KV cache per layer",
    "adapter_widths": "LoRA adapter",
    "licence": "licence",
    "gated": "gated",
}
"""Labels of the facts, in order."""


def facts_of(profile: Profile) -> list[tuple[str, str, str]]:
    """Return label, value and source of each fact that is known."""
    rows = []
    for name in FACTS:
        fact = profile.about.fact(name)
        if fact is not None:
            rows.append((LABELS[name], formatting.fact(name, fact.value), fact.source))
    return rows


def unknown_facts(profile: Profile) -> list[str]:
    """Return the labels of the unknown facts that are expected of every model."""
    expected = [name for name in FACTS if name not in ("encoder_bytes", "adapter_widths")]
    return [LABELS[name] for name in expected if profile.about.fact(name) is None]


def run_profiles(console: Console | None = None, profiles: Path = PROFILES) -> int:
    """Print the table of profiles; return the exit status."""
    out = console or open_console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Profile", no_wrap=True)
    table.add_column("Model", no_wrap=True)
    table.add_column("Task")
    for heading in ("Parameters", "Weights", "Context"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("For", no_wrap=True)
    for profile in load_all(profiles):
        about = profile.about
        values = {name: fact.value if (fact := about.fact(name)) else None for name in FACTS}
        hardware, size = about.hardware, values["weight_bytes"]
        table.add_row(
            profile.name,
            profile.model,
            about.task,
            formatting.count(values["parameters"]),
            formatting.UNKNOWN if size is None else formatting.gib(size),
            formatting.UNKNOWN if values["context"] is None else f"{values['context']:,}",
            f"{hardware.gpus} x {hardware.pools[0] if hardware.pools else 'any GPU'}",
        )
    out.print(table)
    out.print(
        "\nPROFILE=<name> is a complete configuration. More: worker profiles show <name>, "
        "worker fit <name>"
    )
    return ExitCode.OK


def run_show(name: str, console: Console | None = None, profiles: Path = PROFILES) -> int:
    """Print everything about one profile; return the exit status.

    Args:
        name: Profile, or the path of one.
        console: Where to print; None is stdout.
        profiles: The built-in profiles.
    """
    out = console or open_console()
    found = read_profile(name, "profile", profiles)
    if isinstance(found, Problem):
        report_problems([found], console=out)
        return ExitCode.CONFIGURATION
    try:
        machine = MachineInfo(gpus=found.about.hardware.gpus, memory_bytes=GIB)
        settings = load_settings({"PROFILE": name}, machine=machine, profiles=profiles)
    except ConfigurationError as error:
        report_problems(error.problems, console=out)
        return ExitCode.CONFIGURATION
    _print_profile(found, settings, out)
    return ExitCode.OK


def _print_profile(profile: Profile, settings: Settings, out: Console) -> None:
    about, hardware = profile.about, profile.about.hardware
    out.print(f"[bold]{escape(about.title or profile.name)}[/bold]: {escape(about.summary)}")
    pools = ", ".join(hardware.pools) or "any"
    memory = "" if hardware.memory_gib is None else f" with {hardware.memory_gib:g} GiB each"
    out.print(
        f"\n[bold]Hardware[/bold]  {hardware.gpus} GPU{memory}; RunPod pools: {pools}; ", end=""
    )
    out.print(f"CUDA {hardware.cuda}")
    out.print("\n[bold]Settings[/bold]")
    for key, value in profile.settings.items():
        origin = profile.origins[key]
        inherited = "" if origin == profile.name else f"  [dim]from {origin}[/dim]"
        line = shlex.quote(value) if isinstance(value, str) and "\n" in value else str(value)
        out.print(f"  {key}: {escape(line)}{inherited}", soft_wrap=True)
    out.print("\n[bold]Engine arguments[/bold]")
    out.print(shlex.join(settings.engine_arguments()), markup=False, soft_wrap=True)
    out.print("\n[bold]Facts[/bold]")
    for label, value, source in facts_of(profile):
        out.print(f"  {label}: {escape(value)}  [dim]{escape(source)}[/dim]", soft_wrap=True)
    for label in unknown_facts(profile):
        out.print(f"  {label}: unknown")
    preset, encoders = about.speculation, about.fact("encoder_bytes")
    options = []
    if preset is not None:
        options.append(f"SPECULATION=on: {formatting.draft(preset)}")
    if encoders is not None:
        size = formatting.gib(encoders.value)
        options.append(f"LANGUAGE_MODEL_ONLY=true: text only, without {size} of encoders")
    for heading, lines in (
        ("Options", options),
        ("Also for", [*about.matches, *(f"{v.model} ({v.precision})" for v in about.variants)]),
        ("Checked", [f"{item.what}; {item.where}" for item in about.checked]),
        ("Notes", about.notes),
    ):
        if lines:
            out.print(f"\n[bold]{heading}[/bold]")
            for line in lines:
                out.print(f"  {escape(line)}", soft_wrap=True)
