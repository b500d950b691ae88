"""What to change when a configuration does not fit a GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from worker.config.capacity import Demand
from worker.config.files import PROFILES
from worker.plan.placement import FP8_CAPABILITY, Placement, counts, place_on
from worker.plan.question import Question, ask
from worker.profile import Variant, names
from worker.profile.memory import GIB, Model, estimate_weights


def advise(question: Question, placement: Placement, profiles: Path = PROFILES) -> Iterator[str]:
    """Yield changes that would make it fit, the least intrusive first; each alone is enough.

    Args:
        question: The configuration.
        placement: Where it does not fit.
        profiles: The built-in profiles.
    """
    fit = placement.fit
    if fit.longest:
        yield f"MAX_MODEL_LEN={fit.longest} (or auto): the longest context that fits"
    yield from _smaller_cache(question, placement)
    yield from _variants(question, placement)
    yield from _profiles(question, placement, profiles)
    yield from _more_gpus(question, placement)


def _demand(question: Question, placement: Placement) -> Demand | None:
    if question.demand is None:
        return None
    layout = dataclasses.replace(question.demand.layout, tensor_parallel=placement.gpus)
    return dataclasses.replace(question.demand, layout=layout)


def _smaller_cache(question: Question, placement: Placement) -> Iterator[str]:
    demand = _demand(question, placement)
    if demand is None or demand.layout.kv_bytes <= 1:
        return
    if placement.pool is not None and placement.pool.capability < FP8_CAPABILITY:
        return
    layout = dataclasses.replace(demand.layout, kv_bytes=1.0)
    if dataclasses.replace(demand, layout=layout).fit(placement.memory_bytes).fits:
        yield "KV_CACHE_DTYPE=fp8: half the cache, at some cost in quality"


def _variants(question: Question, placement: Placement) -> Iterator[str]:
    demand = _demand(question, placement)
    if demand is None:
        return
    parameters = demand.profile.about.fact("parameters")
    for variant in demand.profile.about.variants:
        size = variant_bytes(variant, None if parameters is None else parameters.value)
        if size is None:
            continue
        model = Model(size, demand.model.attention, demand.model.context)
        if dataclasses.replace(demand, model=model).fit(placement.memory_bytes).fits:
            yield (
                f"MODEL_NAME={variant.model}: {variant.precision}, about {size / GIB:.1f} GiB of "
                "weights"
            )


def variant_bytes(variant: Variant, parameters: int | None) -> int | None:
    """Return the size of a variant's weights, bytes; an estimate unless it is known."""
    if variant.weight_bytes is not None or parameters is None:
        return variant.weight_bytes
    return estimate_weights(parameters, variant.precision)


def _profiles(question: Question, placement: Placement, profiles: Path) -> Iterator[str]:
    """Yield profiles of the same model in another precision: those whose names begin alike."""
    if question.demand is None:
        return
    stem = question.demand.profile.name
    for name in names(profiles):
        if name.startswith(f"{stem}-"):
            other = ask({}, name, profiles)
            if other.demand is None:
                continue
            found = place_on(other, placement.name, placement.memory_bytes, placement.gpus)
            if found.fit.fits:
                yield f"PROFILE={name}: {other.demand.profile.about.title}"


def _more_gpus(question: Question, placement: Placement) -> Iterator[str]:
    for gpus in counts(question):
        if gpus > placement.gpus:
            found = place_on(question, placement.name, placement.memory_bytes, gpus, placement.pool)
            if found.fit.fits:
                yield f"{gpus} GPUs of this kind in one worker"
                return
