"""The table of `worker fit` as data, with today's choice marked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.console import problem_data
from worker.errors import ConfigurationError
from worker.machine import detect_machine
from worker.profile.pools import PRICES_SOURCE
from worker.sizing import formatting
from worker.sizing.advice import advise
from worker.sizing.placement import Placement, cheapest, place_all, place_on
from worker.sizing.target import load_target


def describe_fit(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return on which GPUs the model of an environment fits.

    `rows` has RunPod's pools, and first this machine's GPU if there is one. `chosen` marks the
    GPU of this machine, else the pool that `worker deploy` takes first: the cheapest that fits.
    """
    try:
        target = load_target(environ)
    except ConfigurationError as error:
        return {"problems": [problem_data(problem) for problem in error.problems]}
    if target.requirement is None:
        return {"model": Path(target.label).name, "unknown": True}
    pools = list(place_all(target))
    best = cheapest(pools)
    machine = detect_machine(environ)
    rows = [_row(item, chosen=machine.gpu_bytes is None and item is best) for item in pools]
    advice: list[str] = []
    if machine.gpu_bytes is not None:
        name = machine.gpu_name or "GPU"
        here = place_on(target, name, machine.gpu_bytes, machine.gpus)
        rows.insert(0, {**_row(here, chosen=True), "gpu": f"This machine: {name}"})
        advice = [] if here.fit.fits else list(advise(target, here))
    return {
        "model": target.label,
        "profile": target.requirement.profile.name,
        "precision": target.requirement.precision,
        "weights": formatting.gib(target.requirement.model.weight_bytes),
        "rows": rows,
        "advice": advice,
        "prices": PRICES_SOURCE,
        "here": machine.gpu_bytes is not None,
    }


def _row(item: Placement, *, chosen: bool) -> dict[str, Any]:
    fit = item.fit
    return {
        "gpu": item.name if item.pool is None else f"{item.name} ({', '.join(item.pool.gpus)})",
        "gpus": item.gpus,
        "usable": formatting.gib(fit.usable_bytes),
        "cache": formatting.gib(max(0, fit.cache_bytes)),
        "tokens": formatting.tokens(fit.tokens) if fit.fits else formatting.UNKNOWN,
        "context": f"{fit.context:,}" if fit.fits else formatting.UNKNOWN,
        "requests": formatting.requests(fit.requests) if fit.fits else formatting.UNKNOWN,
        "price": formatting.price(item.usd_per_hour),
        "fits": fit.fits,
        "chosen": chosen,
    }
