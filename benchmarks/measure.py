"""Run the plan: rounds of all bursts, in each of them the systems one after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.load import Burst
from benchmarks.plan import without_transport
from benchmarks.processes import measure_tree, reset_peaks
from benchmarks.sample import Sample, median_sample, summarise
from benchmarks.systems import EngineAlone, JobError, System

BURST_TIMEOUT_S = 120
"""A burst that takes longer has failed."""

SETTLE_S = 0.2
"""Between two bursts, so that the one before has ended everywhere."""

WARM_UP = (Burst(1, 16), Burst(8, 16), Burst(1, 16, stream=False))


@dataclass(slots=True)
class Results:
    """Everything that was measured.

    Attributes:
        samples: By system and burst, one per round.
        failures: What went wrong, by system and burst.
    """

    samples: dict[tuple[str, Burst], list[Sample]] = field(default_factory=dict)
    failures: dict[tuple[str, Burst], str] = field(default_factory=dict)

    def median(self, system: str, burst: Burst) -> Sample | None:
        """Return the medians of a burst's rounds; None if there are none."""
        key = (system, without_transport(burst) if system == EngineAlone.name else burst)
        found = self.samples.get(key)
        return median_sample(found) if found else None


async def measure_bursts(
    systems: Sequence[System],
    bursts: Sequence[Burst],
    rounds: int,
    budget_s: float,
    say: Callable[[str], None],
) -> Results:
    """Measure every burst at every system `rounds` times, or until the time is over.

    Args:
        systems: Running and idle.
        bursts: In this order, all of them before the second round.
        rounds: Repetitions.
        budget_s: Seconds after which no burst begins.
        say: Shows progress.
    """
    results = Results()
    deadline_s = time.monotonic() + budget_s
    for system in systems:
        for burst in WARM_UP:
            await system.run(burst)
    for turn in range(rounds):
        seen: set[tuple[str, Burst]] = set()
        for burst in bursts:
            # Each turn begins with another system, so that none is always the first.
            start = turn % len(systems)
            for system in [*systems[start:], *systems[:start]]:
                key = (
                    system.name,
                    without_transport(burst) if system.name == EngineAlone.name else burst,
                )
                if key in seen or key in results.failures:
                    continue
                if time.monotonic() > deadline_s:
                    say(f"the time is over in round {turn + 1} of {rounds}")
                    return results
                seen.add(key)
                await _measure(system, key, results)
                say(f"round {turn + 1}: {describe(key, results)}")
    return results


def describe(key: tuple[str, Burst], results: Results) -> str:
    """Return one line about the latest measurement of `key`."""
    name, burst = key
    kind = f"{burst.shape} {'streamed' if burst.stream else 'whole'}"
    place = f"{name:7} {burst.concurrency:4} {kind}, {burst.rtt_ms:g} ms"
    if key in results.failures:
        return f"{place}: failed, {results.failures[key]}"
    sample = results.samples[key][-1]
    return (
        f"{place}: wall {sample.wall_s:.2f} s, first {sample.first_p50_ms:.0f} ms, front CPU "
        f"{sample.front_cpu_s:.2f} s, endpoint CPU {sample.endpoint_cpu_s:.2f} s"
    )


async def _measure(system: System, key: tuple[str, Burst], results: Results) -> None:
    reset_peaks(system.pid)
    before, endpoint_s = measure_tree(system.pid), time.process_time()
    try:
        async with asyncio.timeout(BURST_TIMEOUT_S):
            streams = await system.run(key[1])
    except (JobError, TimeoutError) as error:
        results.failures[key] = str(error) or f"not done within {BURST_TIMEOUT_S} s"
        return
    endpoint_s = time.process_time() - endpoint_s
    sample = summarise(streams, before, measure_tree(system.pid), endpoint_s)
    results.samples.setdefault(key, []).append(sample)
    await asyncio.sleep(SETTLE_S)


def count_rounds(samples: Mapping[tuple[str, Burst], Sequence[Sample]]) -> tuple[int, int]:
    """Return the fewest and the most rounds that any burst had."""
    counts = [len(found) for found in samples.values()] or [0]
    return min(counts), max(counts)
