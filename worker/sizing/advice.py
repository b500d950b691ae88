"""What to change when a configuration does not fit a GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from worker.profile import PROFILES, Variant, names
from worker.profile.memory import GIB, estimate_weights
from worker.profile.pools import SLICES
from worker.sizing.placement import FP8_CAPABILITY, Placement, counts, place_on
from worker.sizing.requirement import MemoryRequirement
from worker.sizing.target import SizingTarget, load_target


def advise(target: SizingTarget, placement: Placement, profiles: Path = PROFILES) -> Iterator[str]:
    """Yield changes that would make it fit, the least intrusive first; each alone is enough.

    Args:
        target: The configuration.
        placement: Where it does not fit.
        profiles: The built-in profiles.
    """
    fit = placement.fit
    if fit.longest:
        yield f"MAX_MODEL_LEN={fit.longest} (or auto): the longest context that fits"
    yield from _smaller_cache(target, placement)
    yield from _fewer_adapters(target, placement)
    yield from _text_only(target, placement)
    yield from _variants(target, placement)
    yield from _profiles(target, placement, profiles)
    yield from _more_gpus(target, placement)


def _demand(target: SizingTarget, placement: Placement) -> MemoryRequirement | None:
    if target.requirement is None:
        return None
    layout = dataclasses.replace(target.requirement.layout, tensor_parallel=placement.gpus)
    return dataclasses.replace(target.requirement, layout=layout)


def _smaller_cache(target: SizingTarget, placement: Placement) -> Iterator[str]:
    requirement = _demand(target, placement)
    if requirement is None or requirement.layout.kv_bytes <= 1:
        return
    if placement.pool is not None and placement.pool.capability < FP8_CAPABILITY:
        return
    layout = dataclasses.replace(requirement.layout, kv_bytes=1.0)
    if dataclasses.replace(requirement, layout=layout).fit(placement.memory_bytes).fits:
        yield "KV_CACHE_DTYPE=fp8: half the cache, at some cost in quality"


def _fewer_adapters(target: SizingTarget, placement: Placement) -> Iterator[str]:
    requirement = _demand(target, placement)
    if requirement is None or requirement.model.adapters is None:
        return
    adapters = requirement.model.adapters
    for slots in range(adapters.slots - 1, 0, -1):
        fewer = dataclasses.replace(adapters, slots=slots)
        model = dataclasses.replace(requirement.model, adapters=fewer)
        if dataclasses.replace(requirement, model=model).fit(placement.memory_bytes).fits:
            yield f"MAX_LORAS={slots}: requests for other adapters wait"
            return


def _text_only(target: SizingTarget, placement: Placement) -> Iterator[str]:
    requirement = _demand(target, placement)
    if requirement is None or requirement.left_out:
        return
    encoders = requirement.profile.about.fact("encoder_bytes")
    if encoders is None:
        return
    smaller = requirement.model.weight_bytes - encoders.value
    model = dataclasses.replace(requirement.model, weight_bytes=smaller)
    if dataclasses.replace(requirement, model=model).fit(placement.memory_bytes).fits:
        yield (
            f"LANGUAGE_MODEL_ONLY=true: text only, without {encoders.value / GIB:.1f} GiB of "
            "encoders"
        )


def _variants(target: SizingTarget, placement: Placement) -> Iterator[str]:
    requirement = _demand(target, placement)
    if requirement is None:
        return
    parameters = requirement.profile.about.fact("parameters")
    for variant in requirement.profile.about.variants:
        size = variant_bytes(variant, None if parameters is None else parameters.value)
        if size is None:
            continue
        draft = requirement.draft
        size += (0 if draft is None else draft.weight_bytes) - requirement.left_out
        model = dataclasses.replace(requirement.model, weight_bytes=size)
        if dataclasses.replace(requirement, model=model).fit(placement.memory_bytes).fits:
            yield (
                f"MODEL_NAME={variant.model}: {variant.precision}, about {size / GIB:.1f} GiB of "
                "weights"
            )


def variant_bytes(variant: Variant, parameters: int | None) -> int | None:
    """Return the size of a variant's weights, bytes; an estimate unless it is known."""
    if variant.weight_bytes is not None or parameters is None:
        return variant.weight_bytes
    return estimate_weights(parameters, variant.precision)


def _profiles(target: SizingTarget, placement: Placement, profiles: Path) -> Iterator[str]:
    """Yield profiles of the same model in another precision, by the start of their names."""
    if target.requirement is None:
        return
    stem = target.requirement.profile.name
    for name in names(profiles):
        if name.startswith(f"{stem}-"):
            other = load_target({}, name, profiles)
            if other.requirement is None:
                continue
            found = place_on(other, placement.name, placement.memory_bytes, placement.gpus)
            if found.fit.fits:
                yield f"PROFILE={name}: {other.requirement.profile.about.title}"


def _more_gpus(target: SizingTarget, placement: Placement) -> Iterator[str]:
    if placement.pool in SLICES:
        return
    for gpus in counts(target):
        if gpus > placement.gpus:
            found = place_on(target, placement.name, placement.memory_bytes, gpus, placement.pool)
            if found.fit.fits:
                yield f"{gpus} GPUs of this kind in one worker"
                return
