"""Placements of a configuration: GPUs, their number and their price."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from worker.profile.attention import count_kv_heads
from worker.profile.memory import Fit
from worker.profile.pools import GPU_COUNTS, POOLS, Pool
from worker.settings.parallel import shares_evenly
from worker.sizing.requirement import MemoryRequirement
from worker.sizing.target import SizingTarget

SECONDS_PER_HOUR = 3600
FP8_CAPABILITY = (8, 9)
"""Older GPUs unpack FP8 weights on the fly, which is slower."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A configuration on some GPUs.

    Attributes:
        name: Pool or GPU.
        gpus: How many of them.
        memory_bytes: Memory of each, bytes.
        fit: Whether and how it fits.
        pool: The RunPod pool; None for a GPU that is in none.
    """

    name: str
    gpus: int
    memory_bytes: int
    fit: Fit
    pool: Pool | None

    @property
    def usd_per_hour(self) -> float | None:
        """Price of all GPUs, US dollars per hour; None if not published."""
        if self.pool is None or self.pool.usd_per_s is None:
            return None
        return self.pool.usd_per_s * self.gpus * SECONDS_PER_HOUR


def place_on(
    target: SizingTarget, name: str, memory_bytes: int, gpus: int, pool: Pool | None = None
) -> Placement:
    """Return a configuration on `gpus` GPUs of one kind; its requirement must be known."""
    requirement = spread(target, gpus)
    return Placement(name, gpus, memory_bytes, requirement.fit(memory_bytes), pool)


def spread(target: SizingTarget, gpus: int) -> MemoryRequirement:
    """Return the requirement of each GPU if `gpus` of them share the model."""
    requirement = target.requirement
    if requirement is None:
        raise ValueError("the requirement of the model is not known")
    if target.fixed:
        return requirement
    share = max(1, gpus // requirement.layout.pipeline_parallel)
    return dataclasses.replace(
        requirement, layout=dataclasses.replace(requirement.layout, tensor_parallel=share)
    )


def counts(target: SizingTarget) -> Sequence[int]:
    """Return the possible numbers of GPUs, fewest first; each GPU gets whole attention heads."""
    if target.fixed and target.requirement is not None:
        return (target.requirement.layout.gpus,)
    if target.requirement is None:
        return GPU_COUNTS
    heads = count_kv_heads(target.requirement.model.attention)
    pipeline = target.requirement.layout.pipeline_parallel
    return [
        gpus
        for gpus in GPU_COUNTS
        if all(shares_evenly(number, max(1, gpus // pipeline)) for number in heads)
    ]


def place_all(target: SizingTarget, pools: Iterable[Pool] = POOLS) -> Iterator[Placement]:
    """Yield the smallest placement on each pool that fits, or the largest if none does."""
    for pool in pools:
        placements = [
            place_on(target, pool.name, pool.memory_bytes, gpus, pool) for gpus in counts(target)
        ]
        yield next((item for item in placements if item.fit.fits), placements[-1])


def cheapest(placements: Iterable[Placement]) -> Placement | None:
    """Return the cheapest placement that fits; None when none does.

    Pools without a published price come last, by memory.
    """
    fitting = [item for item in placements if item.fit.fits]

    def order(item: Placement) -> tuple[bool, float]:
        price = item.usd_per_hour
        return price is None, item.memory_bytes * item.gpus if price is None else price

    return min(fitting, key=order, default=None)
