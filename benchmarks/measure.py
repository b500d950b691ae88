"""Runs the plan: rounds of all bursts; in each round, one system after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.load import Burst, make_warm_up
from benchmarks.plan import without_transport
from benchmarks.processes import measure_tree, reset_peaks
from benchmarks.sample import Sample, median_sample, summarise
from benchmarks.systems import EngineAlone, HasPid, JobError, System

BURST_TIMEOUT_S = 120
"""A burst that takes longer has failed."""

SETTLE_S = 0.2
"""Pause between two bursts, in which all processes end the first one."""

QUIET_POLL_S = 0.1
"""Time over which CPU usage is measured to detect idle systems."""

QUIET_SHARE = 0.1
"""Share of one core below which a system counts as idle."""

QUIET_TIMEOUT_S = 5.0
"""Maximum wait for the other systems to be idle."""

FEW, REPEATS = 8, 3
"""Up to this many requests are too few for one burst; a round then has this many bursts."""

Key = tuple[str, Burst]
"""Name of a system, and a burst."""


@dataclass(slots=True)
class Results:
    """All measurements.

    Attributes:
        samples: By system and burst, one per round.
        failures: What went wrong, by system and burst.
    """

    samples: dict[Key, list[Sample]] = field(default_factory=dict)
    failures: dict[Key, str] = field(default_factory=dict)

    def median(self, system: str, burst: Burst) -> Sample | None:
        """Return the medians of a burst's rounds; None if there are none."""
        found = self.samples.get(make_key(system, burst))
        return median_sample(found) if found else None


def make_key(system: str, burst: Burst) -> Key:
    """Return the key of a system's burst."""
    return system, without_transport(burst) if system == EngineAlone.name else burst


async def measure_bursts(
    systems: Sequence[System],
    bursts: Sequence[Burst],
    rounds: int,
    deadline_s: float,
    results: Results,
    report: Callable[[str], None],
) -> bool:
    """Measure every burst at every system until each has `rounds` rounds, or the time is over.

    Args:
        systems: Running and idle.
        bursts: In this order, all of them before the second round.
        rounds: Repetitions.
        deadline_s: Time of `time.monotonic()` after which no burst begins.
        results: Gets the figures, each as soon as it is known; what it has is not measured again.
        report: Shows progress.

    Returns:
        Whether the time sufficed.
    """
    for turn in range(rounds):
        for burst in bursts:
            # Rotate the order: no system is always the first.
            start = turn % len(systems)
            for system in [*systems[start:], *systems[:start]]:
                key = make_key(system.name, burst)
                if key in results.failures or len(results.samples.get(key, ())) > turn:
                    continue
                if time.monotonic() > deadline_s:
                    report(f"the time is over in round {turn + 1} of {rounds}")
                    return False
                await wait_quiet([other for other in systems if other is not system])
                await _measure(system, key, results)
                report(f"round {turn + 1}: {describe(key, results)}")
    return True


def describe(key: Key, results: Results) -> str:
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


async def _measure(system: System, key: Key, results: Results) -> None:
    burst = key[1]
    repeats = REPEATS if burst.concurrency <= FEW else 1
    try:
        async with asyncio.timeout(BURST_TIMEOUT_S):
            # Whatever sleeps in an idle system wakes up in requests that do not count.
            await system.run(make_warm_up(burst))
            samples = [await measure_once(system, burst) for _ in range(repeats)]
    except (JobError, TimeoutError) as error:
        results.failures[key] = str(error) or f"not done within {BURST_TIMEOUT_S} s"
        return
    results.samples.setdefault(key, []).append(median_sample(samples))


async def wait_quiet(systems: Sequence[HasPid]) -> None:
    """Return when all `systems` are idle, or after `QUIET_TIMEOUT_S`.

    Without a GPU, vLLM's processes look for work without a pause for a second after the last. The
    system that is measured next would have to do without what they take.
    """
    deadline_s = time.monotonic() + QUIET_TIMEOUT_S
    used_s = measure_cpu_s(systems)
    while time.monotonic() < deadline_s:
        await asyncio.sleep(QUIET_POLL_S)
        before_s, used_s = used_s, measure_cpu_s(systems)
        if used_s - before_s <= QUIET_SHARE * QUIET_POLL_S:
            return


def measure_cpu_s(systems: Sequence[HasPid]) -> float:
    """Return the CPU seconds that all processes of `systems` have used."""
    usages = [measure_tree(system.pid) for system in systems]
    return sum(usage.front_cpu_s + usage.engine_cpu_s for usage in usages)


async def measure_once(system: System, burst: Burst) -> Sample:
    """Measure one burst, after a pause.

    Raises:
        JobError: A request did not give what was asked for.
    """
    await asyncio.sleep(SETTLE_S)
    reset_peaks(system.pid)
    before, endpoint_s = measure_tree(system.pid), time.process_time()
    streams = await system.run(burst)
    endpoint_s = time.process_time() - endpoint_s
    return summarise(streams, before, measure_tree(system.pid), endpoint_s)


def count_rounds(samples: Mapping[Key, Sequence[Sample]]) -> tuple[int, int]:
    """Return the smallest and the largest number of rounds of a burst."""
    counts = [len(found) for found in samples.values()] or [0]
    return min(counts), max(counts)
