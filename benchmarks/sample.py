"""The figures of one burst on one system, and medians of several bursts."""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.load import Stream
from benchmarks.processes import Usage
from benchmarks.quantile import percentile


@dataclass(frozen=True, slots=True)
class Sample:
    """Figures of one burst; NaN for a figure that was not measured.

    Attributes:
        wall_s: From the first request to the last answer.
        first_p50_ms: Time to the first chunk, median of the streams.
        first_p99_ms: Its 99th percentile.
        gap_p50_ms: Time between two chunks of one stream, median of all gaps.
        gap_p99_ms: Its 99th percentile.
        tokens_per_s: All tokens by the wall time.
        posts: Posts from worker to platform, per stream.
        kilobytes: Their bodies, per stream, in 1000 bytes.
        root_cpu_s: CPU time of the system's first process: the worker itself, or all of the engine
            alone but its engine.
        front_cpu_s: CPU time of all the system's processes but the engine's.
        engine_cpu_s: CPU time of the engine's processes.
        endpoint_cpu_s: CPU time of the local endpoint and of measuring.
        peak_mb: Peak memory of all the system's processes but the engine's, 1,000,000 bytes.
    """

    wall_s: float
    first_p50_ms: float
    first_p99_ms: float
    gap_p50_ms: float
    gap_p99_ms: float
    tokens_per_s: float
    posts: float
    kilobytes: float
    root_cpu_s: float
    front_cpu_s: float
    engine_cpu_s: float
    endpoint_cpu_s: float
    peak_mb: float


def summarise(
    streams: Sequence[Stream], before: Usage, after: Usage, endpoint_cpu_s: float
) -> Sample:
    """Return the figures of one burst.

    Args:
        streams: Its requests, at least one.
        before: What the system had used before it.
        after: What it had used when it was over.
        endpoint_cpu_s: CPU time of the process that has the endpoint.
    """
    wall_s = max(s.finished_s for s in streams) - min(s.submitted_s for s in streams)
    firsts_s = [s.chunks_s[0] - s.submitted_s for s in streams if s.chunks_s]
    gaps_s = [b - a for s in streams for a, b in itertools.pairwise(s.chunks_s)]
    return Sample(
        wall_s=wall_s,
        first_p50_ms=percentile(firsts_s, 50) * 1000,
        first_p99_ms=percentile(firsts_s, 99) * 1000,
        gap_p50_ms=percentile(gaps_s, 50) * 1000,
        gap_p99_ms=percentile(gaps_s, 99) * 1000,
        tokens_per_s=sum(s.tokens for s in streams) / wall_s,
        posts=sum(s.posts for s in streams) / len(streams),
        kilobytes=sum(s.size_bytes for s in streams) / len(streams) / 1000,
        root_cpu_s=after.root_cpu_s - before.root_cpu_s,
        front_cpu_s=after.front_cpu_s - before.front_cpu_s,
        engine_cpu_s=after.engine_cpu_s - before.engine_cpu_s,
        endpoint_cpu_s=endpoint_cpu_s,
        peak_mb=after.front_peak_bytes / 1e6,
    )


def median_sample(samples: Iterable[Sample]) -> Sample:
    """Return the median of each figure, over those samples that have it."""
    columns = zip(*(dataclasses.astuple(sample) for sample in samples), strict=True)
    return Sample(*(_median(column) for column in columns))


def _median(column: Iterable[float]) -> float:
    known = [value for value in column if not math.isnan(value)]
    return statistics.median(known) if known else math.nan
