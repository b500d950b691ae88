"""`worker fit`: whether a model fits a GPU, with which cache, and what to change if not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from worker.console import open_console, report_problems
from worker.errors import ConfigurationError, ExitCode
from worker.machine import detect_machine
from worker.profile.memory import token_bytes
from worker.profile.pools import PRICES_SOURCE, SLICES, find_gpu, known_gpus
from worker.sizing import formatting
from worker.sizing.advice import advise
from worker.sizing.placement import (
    FP8_CAPABILITY,
    Placement,
    cheapest,
    counts,
    place_all,
    place_on,
    spread,
)
from worker.sizing.requirement import MemoryRequirement
from worker.sizing.target import SizingTarget, load_target
from worker.suggest import HINT, did_you_mean, suggest


def run_fit(
    environ: Mapping[str, str],
    name: str | None = None,
    gpus: Sequence[str] = (),
    gpu_count: int | None = None,
    console: Console | None = None,
) -> int:
    """Print whether a configuration fits; return the exit status.

    Args:
        environ: The environment.
        name: Profile or model; None for that of the environment.
        gpus: RunPod pools or GPUs to check; empty means the machine's own GPUs, else all pools.
        gpu_count: GPUs of one worker; None for the fewest that fit.
        console: Where to print; None is stdout.
    """
    out = console or open_console()
    try:
        target = load_target(environ, name)
    except ConfigurationError as error:
        report_problems(error.problems, console=out)
        return ExitCode.CONFIGURATION
    if target.requirement is None:
        out.print(
            f"No profile has facts about {escape(target.label)}. Write your own profile with the "
            "facts of the model; see docs/profiles.md.",
            soft_wrap=True,
        )
        return ExitCode.FAILURE
    unknown = [gpu for gpu in gpus if find_gpu(gpu) is None]
    if unknown:
        known = [*known_gpus(), *(item.name for item in SLICES)]
        hint = did_you_mean(suggest(unknown[0], known, HINT))
        out.print(
            f"No RunPod pool has a GPU called {escape(unknown[0])}.{hint} Known: "
            f"{', '.join(known)}",
            soft_wrap=True,
        )
        return ExitCode.CONFIGURATION
    return _answer(target, target.requirement, _placements(target, gpus, gpu_count, environ), out)


def _placements(
    target: SizingTarget, gpus: Sequence[str], gpu_count: int | None, environ: Mapping[str, str]
) -> list[Placement]:
    machine = detect_machine(environ)
    if not gpus and machine.gpu_bytes is not None:
        number = gpu_count or machine.gpus
        return [place_on(target, machine.gpu_name or "GPU", machine.gpu_bytes, number)]
    pools = [pool for pool in map(find_gpu, gpus) if pool is not None]
    if gpu_count is None and not gpus:
        return list(place_all(target))
    if gpu_count is None:
        first = counts(target)[0]
        return [place_on(target, p.name, p.memory_bytes, first, p) for p in pools]
    chosen = pools or [item.pool for item in place_all(target) if item.pool is not None]
    return [place_on(target, p.name, p.memory_bytes, gpu_count, p) for p in chosen]


def _answer(
    target: SizingTarget,
    requirement: MemoryRequirement,
    placements: Sequence[Placement],
    out: Console,
) -> int:
    _describe(target, requirement, out)
    out.print(_table(placements))
    for item in placements:
        if item.pool is not None and _is_slow(requirement, item):
            out.print(
                f"\n{item.name}: has GPUs older than FP8, which unpack the weights on the fly."
            )
            break
    best = cheapest(placements if len(placements) > 1 else place_all(target))
    refused = [item for item in placements if not item.fit.fits]
    if len(placements) == 1 and refused:
        changes = list(advise(target, refused[0]))
        out.print("\n[bold]To make it fit[/bold], any one of:" if changes else "")
        for change in changes:
            out.print(f"  {escape(change)}", soft_wrap=True)
    if best is not None:
        cost = formatting.price(best.usd_per_hour)
        out.print(
            f"\nCheapest RunPod pool that holds it: [bold]{best.name}[/bold], {best.gpus} GPU"
            f"{'s' if best.gpus > 1 else ''}, {cost} as a flex worker",
            soft_wrap=True,
        )
    else:
        out.print("\nNo RunPod worker holds it.")
    out.print(
        "Prices as of 2026, without storage and other charges; current prices: "
        f"{PRICES_SOURCE}\nCache and requests are computed from the model's layers. Other memory "
        "is an estimate; vLLM measures it at start.",
        soft_wrap=True,
        style="dim",
    )
    return ExitCode.FAILURE if len(refused) == len(placements) else ExitCode.OK


def _is_slow(requirement: MemoryRequirement, item: Placement) -> bool:
    old = item.pool is not None and item.pool.capability < FP8_CAPABILITY
    return old and item.fit.fits and requirement.precision == "fp8"


def _describe(target: SizingTarget, requirement: MemoryRequirement, out: Console) -> None:
    weights = formatting.gib(requirement.model.weight_bytes)
    doubt = ", estimated" if requirement.estimated else ""
    context = (
        "the longest that fits"
        if requirement.context is None
        else f"{requirement.context:,} tokens"
    )
    fewest = counts(target)[0]
    alone = spread(target, fewest)
    out.print(f"[bold]{escape(target.label)}[/bold] (profile {requirement.profile.name})")
    out.print(f"  weights   {weights}, {requirement.precision}{doubt}")
    if requirement.draft is not None:
        size = formatting.gib(requirement.draft.weight_bytes)
        out.print(
            f"  draft     {size} of the weights: {escape(formatting.draft(requirement.draft))}"
        )
    if requirement.left_out:
        out.print(f"  text only {formatting.gib(requirement.left_out)} of encoders left out")
    out.print(f"  context   {context}; the model has {requirement.model.context:,}")
    if requirement.model.attention:
        per_token = token_bytes(requirement.model.attention, alone.layout)
        fit = alone.fit(0)
        where = "one GPU" if fewest == 1 else f"each of {fewest} GPUs"
        out.print(
            f"  cache     {per_token / 1024:.1f} KiB for a further token, "
            f"{formatting.gib(fit.request_bytes)} for a request of {fit.context:,}, on {where}"
        )
    else:
        out.print("  cache     none: the model keeps nothing between steps")
    adapters = requirement.model.adapters
    if adapters is not None:
        where = "one GPU" if fewest == 1 else f"each of {fewest} GPUs"
        doubt = ", estimated" if adapters.estimated else ""
        many = "adapter" if adapters.slots == 1 else "adapters"
        out.print(
            f"  adapters  {formatting.gib(alone.fit(0).adapter_bytes)} on {where} for "
            f"{adapters.slots} {many} of rank {adapters.rank} in a batch{doubt}"
        )
    elif requirement.uncounted_adapters:
        out.print(
            "  adapters  [yellow]not counted[/yellow]: the profile does not have the widths of "
            "the layers",
            soft_wrap=True,
        )
    if requirement.unconfirmed:
        unknown = ", ".join(name.replace("_", " ") for name in requirement.unconfirmed)
        out.print(f"  [yellow]unconfirmed[/yellow] {unknown}: no public source was found")
    out.print()


def _table(placements: Sequence[Placement]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("GPU", no_wrap=True)
    for heading in ("GPUs", "Usable", "Weights", "Cache", "Tokens", "Context", "Requests", "Price"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for item in placements:
        fit = item.fit
        label = item.name if item.pool is None else f"{item.name} ({', '.join(item.pool.gpus)})"
        table.add_row(
            label,
            str(item.gpus),
            formatting.gib(fit.usable_bytes),
            formatting.gib(fit.weight_bytes),
            formatting.gib(max(0, fit.cache_bytes)),
            formatting.tokens(fit.tokens) if fit.fits else formatting.UNKNOWN,
            f"{fit.context:,}" if fit.fits else formatting.UNKNOWN,
            formatting.requests(fit.requests) if fit.fits else formatting.UNKNOWN,
            formatting.price(item.usd_per_hour),
            "[green]fits[/green]" if fit.fits else "[red]does not fit[/red]",
        )
    return table
