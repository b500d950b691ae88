"""Choose GPU pools for an endpoint: those that hold the model, the cheapest first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from worker.errors import ConfigurationError, Problem
from worker.profile.pools import POOLS, Pool, find_pool, known_gpus
from worker.sizing import Placement, SizingTarget, advise, formatting, load_target, place_on
from worker.sizing.placement import SECONDS_PER_HOUR, counts
from worker.suggest import HINT, suggest
from worker_tools.deploy.options import DeployOptions

MAX_POOLS = 3
"""Pools that RunPod takes in order of priority; it ignores more.

Source: https://docs.runpod.io/serverless/endpoints/endpoint-configurations."""

ANCHOR = "profiles.md#does-it-fit"
MAX_ALTERNATIVES = 3
"""Alternatives that a problem lists."""


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs of one worker.

    Attributes:
        pools: First choice first.
        count: GPUs of one worker.
        placements: How the model fits each pool; empty if its memory is not known.
    """

    pools: tuple[Pool, ...]
    count: int
    placements: tuple[Placement, ...]


@dataclass(frozen=True, slots=True)
class Price:
    """What one running worker costs on one of the pools.

    Attributes:
        pool: The pool's id.
        usd_per_hour: As a flex worker, US dollars an hour; None where no price is published.
    """

    pool: str
    usd_per_hour: float | None


def choose_gpus(
    target: SizingTarget, options: DeployOptions, problems: list[Problem]
) -> Gpus | None:
    """Return the GPUs to request; None with a problem if there are none.

    Args:
        target: The configuration.
        options: The command line.
        problems: Problems are appended here, with alternatives.
    """
    wanted = _find_named(options.gpu or (), problems)
    if wanted is None:
        return None
    if target.requirement is None:
        if wanted:
            return Gpus(wanted, options.gpus or 1, ())
        message = f"nothing is known about {target.label}, so no GPU can be chosen for it"
        problems.append(Problem("--gpu", message, expected="--gpu and --disk", anchor=ANCHOR))
        return None
    if wanted:
        return _place_named(target, wanted, options.gpus, problems)
    fitting = _place_for_profile(target, options.gpus) or _place_anywhere(target, options.gpus)
    if not fitting:
        problems.append(_nothing_fits(target, options.gpus))
        return None
    return _gpus(sorted(fitting, key=_price_key)[:MAX_POOLS])


def prices(gpus: Gpus) -> Iterator[Price]:
    """Yield the price of a worker on each pool, in the order of choice."""
    for pool in gpus.pools:
        each = pool.usd_per_s
        price = None if each is None else round(each * gpus.count * SECONDS_PER_HOUR, 4)
        yield Price(pool.name, price)


def _gpus(placements: Sequence[Placement]) -> Gpus:
    pools = tuple(item.pool for item in placements if item.pool is not None)
    return Gpus(pools, placements[0].gpus, tuple(placements))


def _price_key(placement: Placement) -> tuple[float, int]:
    """Order by price; pools without a published one come last, by memory."""
    price = placement.usd_per_hour
    return (math.inf if price is None else price, placement.memory_bytes)


def _find_named(names: Iterable[str], problems: list[Problem]) -> tuple[Pool, ...] | None:
    """Return the named pools, each once; None if one is unknown."""
    pools: dict[Pool, None] = {}
    unknown = False
    for name in names:
        pool = find_pool(name)
        if pool is None:
            unknown = True
            message = "no RunPod pool has a GPU of this name"
            expected = f"one of {', '.join(known_gpus())}"
            near = suggest(name, known_gpus(), HINT)
            problems.append(Problem("--gpu", message, name, expected, near))
        else:
            pools[pool] = None
    return None if unknown else tuple(pools)


def _place(target: SizingTarget, pools: Iterable[Pool], count: int) -> list[Placement]:
    return [place_on(target, pool.name, pool.memory_bytes, count, pool) for pool in pools]


def _place_named(
    target: SizingTarget, pools: Sequence[Pool], count: int | None, problems: list[Problem]
) -> Gpus | None:
    """Return the named pools with as few GPUs as all of them need; a problem for each too small."""
    for number in (count,) if count else counts(target):
        placements = _place(target, pools, number)
        if all(item.fit.fits for item in placements):
            break
    problems += [_too_small(target, item) for item in placements if not item.fit.fits]
    return None if any(not item.fit.fits for item in placements) else _gpus(placements)


def _place_for_profile(target: SizingTarget, count: int | None) -> list[Placement]:
    """Return the profile's own pools that hold its model as the profile configures it.

    If the settings change the required memory, a smaller GPU may be enough.
    """
    profile = target.settings.profile
    if profile is None or count is not None or target.fixed:
        return []
    try:
        unchanged = load_target({"PROFILE": profile.name}).requirement == target.requirement
    except ConfigurationError:
        return []
    hardware = profile.about.hardware
    pools = [pool for pool in POOLS if pool.name in hardware.pools] if unchanged else []
    return [item for item in _place(target, pools, hardware.gpus) if item.fit.fits]


def _place_anywhere(target: SizingTarget, count: int | None) -> list[Placement]:
    """Return all pools that hold the model, with as few GPUs as any of them needs.

    Pools of an older generation than the profile's oldest are left out.
    """
    profile = target.settings.profile
    named = () if profile is None else profile.about.hardware.pools
    oldest = min((pool.capability for pool in POOLS if pool.name in named), default=(0, 0))
    pools = [pool for pool in POOLS if pool.capability >= oldest]
    for number in (count,) if count else counts(target):
        fitting = [item for item in _place(target, pools, number) if item.fit.fits]
        if fitting:
            return fitting
    return []


def _too_small(target: SizingTarget, placement: Placement) -> Problem:
    fit = placement.fit
    each = f"{placement.gpus} x {placement.name}"
    if fit.cache_bytes <= 0:
        message = (
            f"{each} cannot hold {target.label}: {formatting.gib(fit.weight_bytes)} of weights for "
            f"each GPU, of {formatting.gib(fit.usable_bytes)} that vLLM may use"
        )
    else:
        message = (
            f"{each} holds {target.label}, but not a request of {fit.context:,} tokens, which "
            f"takes {formatting.gib(fit.request_bytes)}; {formatting.gib(fit.cache_bytes)} remain"
        )
    ways = [way for _, way in zip(range(MAX_ALTERNATIVES), advise(target, placement), strict=False)]
    return Problem("--gpu", message, expected="; or ".join(ways) or None, anchor=ANCHOR)


def _nothing_fits(target: SizingTarget, count: int | None) -> Problem:
    largest = max(POOLS, key=lambda pool: pool.memory_bytes)
    return _too_small(target, _place(target, [largest], count or counts(target)[-1])[0])
