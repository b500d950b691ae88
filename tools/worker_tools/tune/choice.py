"""What follows from the measurements: the knee, the choices, and the next load to measure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from worker.profile.pools import Pool
from worker_tools.tune.measurement import Measurement

SAME_POWER = 0.02
"""Relative difference below which two loads are equally good; the smaller one is taken."""

SAME_THROUGHPUT = 0.03
"""The same for the throughput alone."""

MIN_GAIN = 0.05
"""Share of throughput that a larger load has to add."""

MOST_FLAT = 2
"""Loads in a row without that gain, after which no larger one is tried; one may be noise."""

CLOSE = 1.3
"""Ratio of two neighbouring loads between which nothing more is measured."""

SPARE = 1.25
"""Jobs of a worker for each sequence of vLLM where only throughput counts: the next ones wait in
vLLM instead of RunPod's queue."""

KNEE, TARGET, CHEAPEST = "knee", "target", "cheapest"


@dataclass(frozen=True, slots=True)
class Targets:
    """Latency that 95 of 100 requests have to keep, milliseconds; None where any will do."""

    first_token_ms: float | None = None
    token_ms: float | None = None

    def __bool__(self) -> bool:
        return self != Targets()

    def are_met(self, found: Measurement) -> bool:
        """Return whether a measurement keeps them."""
        return (
            self.first_token_ms is None or found.first_token_ms.p95 <= self.first_token_ms
        ) and (self.token_ms is None or found.token_ms.p95 <= self.token_ms)

    def __str__(self) -> str:
        parts = []
        if self.first_token_ms is not None:
            parts.append(f"first token within {self.first_token_ms:g} ms")
        if self.token_ms is not None:
            parts.append(f"at most {self.token_ms:g} ms per token")
        return " and ".join(parts)


@dataclass(frozen=True, slots=True)
class Rent:
    """GPUs of one worker, and their price as a flex worker."""

    pool: Pool
    gpus: int

    @property
    def usd_per_s(self) -> float | None:
        """US dollars a second; None if no price is published."""
        return None if self.pool.usd_per_s is None else self.pool.usd_per_s * self.gpus

    def usd_per_million(self, tokens_per_s: float) -> float | None:
        """Return the price of a million tokens; None if unknown."""
        if self.usd_per_s is None or tokens_per_s <= 0:
            return None
        return self.usd_per_s / tokens_per_s * 1e6


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to configure a worker.

    Attributes:
        name: `knee`, `target` or `cheapest`.
        point: The measurement that it follows from.
    """

    name: str
    point: Measurement

    @property
    def settings(self) -> Mapping[str, int]:
        """The worker's settings."""
        count = self.point.at_once
        jobs = math.ceil(count * SPARE) if self.name == CHEAPEST else count
        return {"MAX_NUM_SEQS": count, "MAX_CONCURRENCY": jobs}

    @property
    def request_count(self) -> int:
        """RunPod's request count: another worker starts when this one has more requests."""
        return self.point.at_once


def choose(points: Iterable[Measurement], targets: Targets) -> list[Choice]:
    """Return the choices, the recommended one first; empty if no measurement is valid."""
    valid = sort_valid(points)
    if not valid:
        return []
    found = [Choice(KNEE, find_knee(valid)), Choice(CHEAPEST, find_cheapest(valid))]
    if targets and (best := find_within(valid, targets)) is not None:
        found.insert(0, Choice(TARGET, best))
    return found


def sort_valid(points: Iterable[Measurement]) -> list[Measurement]:
    """Return the valid measurements by their load, smallest first."""
    return sorted((p for p in points if p.is_valid), key=lambda p: p.at_once)


def find_knee(valid: Sequence[Measurement]) -> Measurement:
    """Return the load with the most throughput for its latency (Kleinrock's power).

    A larger load adds more latency than throughput. The measure depends on no unit and on no range,
    unlike the distance from a line between the first and the last measurement.
    """
    return _smallest(valid, [p.output_per_s / p.total_ms.p50 for p in valid], SAME_POWER)


def find_cheapest(valid: Sequence[Measurement]) -> Measurement:
    """Return the smallest load with the highest throughput, which is the lowest price."""
    return _smallest(valid, [p.output_per_s for p in valid], SAME_THROUGHPUT)


def find_within(valid: Sequence[Measurement], targets: Targets) -> Measurement | None:
    """Return the highest throughput that keeps the targets; None if none does."""
    return max((p for p in valid if targets.are_met(p)), key=lambda p: p.output_per_s, default=None)


def _smallest(
    valid: Sequence[Measurement], values: Sequence[float], tolerance: float
) -> Measurement:
    """Return the first whose value is as good as the best, within what is noise."""
    least = max(values) * (1 - tolerance)
    return next(point for point, value in zip(valid, values, strict=True) if value >= least)


def _count_flat(points: Sequence[Measurement]) -> int:
    """Return how many of the last loads have added no throughput."""
    best, flat = 0.0, 0
    for point in points:
        grows = point.is_valid and point.output_per_s > best * (1 + MIN_GAIN)
        best, flat = (point.output_per_s, 0) if grows else (best, flat + 1)
    return flat


def next_concurrency(points: Sequence[Measurement], most: int, targets: Targets) -> int | None:
    """Return the concurrency to measure next; None when enough is known.

    Doubles until throughput grows no more, a target is missed or requests fail. Then it measures
    between the last that keeps the targets and the first that does not.

    Args:
        points: What was measured, with a concurrency each.
        most: The largest to try.
        targets: Latency to keep.
    """
    if not points:
        return 1
    points = sorted(points, key=lambda p: p.at_once)
    last = points[-1]
    if last.is_valid and targets.are_met(last) and _count_flat(points) < MOST_FLAT:
        return min(last.at_once * 2, most) if last.at_once < most else None
    if not targets:
        return None
    kept = [p.at_once for p in points if p.is_valid and targets.are_met(p)]
    if not kept:
        return None
    above = [p.at_once for p in points if p.at_once > max(kept)]
    if not above or min(above) / max(kept) <= CLOSE:
        return None
    between = round(math.sqrt(max(kept) * min(above)))
    return between if max(kept) < between < min(above) else None
