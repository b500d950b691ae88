"""Performance targets, as ratios within one run, and their figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.load import Burst
from benchmarks.plan import PER_TOKEN_REQUESTS, SHORTER, shorter
from benchmarks.sample import Sample

ENGINE, WORKER, WORKER_VLLM = "engine", "worker", "worker-vllm"

Lookup = Callable[[str, Burst], Sample | None]
"""Return the medians of a system's burst; None if it was not measured."""

LAG_MS = 200
"""Gap between two chunks that a reader perceives as lag."""

SMOOTH_STREAMS = 32
"""Streams up to which no reader should perceive lag."""

PER_TOKEN_SLACK = 1.2
"""Slack for the cost of longer answers without streaming, whose texts are longer."""


@dataclass(frozen=True, slots=True)
class TargetResult:
    """A target and its figure.

    Attributes:
        target: What was aimed at, in words.
        figure: What was measured.
        limit: What it may be at most.
        unit: Of both.
    """

    target: str
    figure: float
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether the target was met."""
        return self.figure <= self.limit


def check_targets(
    find: Lookup, bursts: list[Burst], tokens: int, base_rtt_ms: float
) -> list[TargetResult]:
    """Return every target with its figure.

    Args:
        find: The measurements.
        bursts: What was measured.
        tokens: Tokens of each request.
        base_rtt_ms: The round trip of everything but the first chunks and the gaps.
    """
    least_rtt_ms = min((burst.rtt_ms for burst in bursts), default=base_rtt_ms)

    def streamed(concurrency: int, rtt_ms: float = base_rtt_ms) -> Burst:
        return Burst(concurrency, tokens, rtt_ms)

    return [
        *_first_chunks(find, streamed, least_rtt_ms),
        *_walls(find, streamed),
        *_costs(find, streamed),
        *_per_token_costs(find, Burst(PER_TOKEN_REQUESTS, tokens, base_rtt_ms, stream=False)),
        *_gaps(find, bursts),
    ]


def needed_bursts(bursts: list[Burst], tokens: int, base_rtt_ms: float) -> set[Burst]:
    """Return the bursts whose figures a target needs; arguments as in `check_targets`."""
    asked: set[Burst] = set()

    def note(_system: str, burst: Burst) -> None:
        asked.add(burst)

    check_targets(note, bursts, tokens, base_rtt_ms)
    return asked.intersection(bursts)


Streamed = Callable[..., Burst]


def _pair(find: Lookup, burst: Burst, other: str) -> tuple[Sample, Sample] | None:
    ours, theirs = find(WORKER, burst), find(other, burst)
    return (ours, theirs) if ours is not None and theirs is not None else None


def _first_chunks(find: Lookup, streamed: Streamed, rtt_ms: float) -> Iterator[TargetResult]:
    """Compare without the round trip to the platform, which the engine alone does not have."""
    if found := _pair(find, streamed(1, rtt_ms), ENGINE):
        ours, engine = found
        yield TargetResult(
            "first chunk of one job on an idle worker, at most the engine's + 5 ms",
            ours.first_p50_ms - rtt_ms,
            engine.first_p50_ms + 5,
            "ms",
        )
    if found := _pair(find, streamed(8, rtt_ms), ENGINE):
        ours, engine = found
        yield TargetResult(
            "first chunk of 8 jobs, at most 1.3 times the engine's",
            ours.first_p50_ms - rtt_ms,
            1.3 * engine.first_p50_ms,
            "ms",
        )


def _walls(find: Lookup, streamed: Streamed) -> Iterator[TargetResult]:
    if found := _pair(find, streamed(128), ENGINE):
        ours, engine = found
        yield TargetResult(
            "wall at 128 streams, at most 1.1 times the engine's",
            ours.wall_s,
            1.1 * engine.wall_s,
            "s",
        )
    if found := _pair(find, streamed(300), ENGINE):
        ours, engine = found
        yield TargetResult(
            "wall at 300 streams, at most 1.2 times the engine's",
            ours.wall_s,
            1.2 * engine.wall_s,
            "s",
        )
        yield TargetResult(
            "first chunk p99 at 300 streams, at most 3 times the engine's",
            ours.first_p99_ms,
            3 * engine.first_p99_ms,
            "ms",
        )


def _costs(find: Lookup, streamed: Streamed) -> Iterator[TargetResult]:
    burst = streamed(128)
    for other, owner, share in (
        (ENGINE, "the engine's", 2.2),
        (WORKER_VLLM, "worker-vllm's", 0.3),
    ):
        if found := _pair(find, burst, other):
            ours, theirs = found
            yield TargetResult(
                f"front-end CPU at 128 streams, at most {share} times {owner}",
                ours.front_cpu_s,
                share * theirs.front_cpu_s,
                "s",
            )
    for concurrency in (128, 300):
        if found := _pair(find, streamed(concurrency), WORKER_VLLM):
            ours, worker_vllm = found
            yield TargetResult(
                f"posted per stream at {concurrency} streams, at most 0.2 times worker-vllm's",
                ours.kilobytes,
                0.2 * worker_vllm.kilobytes,
                "kB",
            )


def _per_token_costs(find: Lookup, whole: Burst) -> Iterator[TargetResult]:
    """Return the CPU per token of answers without streaming."""
    longer, short = find(WORKER, whole), find(WORKER, shorter(whole))
    if longer is not None and short is not None:
        yield TargetResult(
            f"worker's own CPU, {whole.concurrency} answers not streamed, at most "
            f"{PER_TOKEN_SLACK} times that of answers with 1/{SHORTER} of the tokens",
            longer.root_cpu_s,
            PER_TOKEN_SLACK * short.root_cpu_s,
            "s",
        )


def _gaps(find: Lookup, bursts: list[Burst]) -> Iterator[TargetResult]:
    """Return the largest gaps between two chunks."""
    results = []
    for burst in bursts:
        if not burst.stream or burst.concurrency > SMOOTH_STREAMS:
            continue
        if found := _pair(find, burst, ENGINE):
            ours, engine = found
            limit_ms = max(LAG_MS, 2 * engine.gap_p50_ms + burst.rtt_ms)
            where = f"{burst.concurrency} {burst.shape} streams, round trip {burst.rtt_ms:g} ms"
            text = f"gap between chunks p99, no lag; closest: {where}"
            results.append(TargetResult(text, ours.gap_p99_ms, limit_ms, "ms"))
    if results:
        yield max(results, key=lambda result: result.figure / result.limit)
