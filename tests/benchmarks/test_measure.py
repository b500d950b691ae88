from __future__ import annotations

import itertools
import math
import os
import time

import pytest

from benchmarks import measure
from benchmarks.load import WARM_UP_TOKENS, Burst, Stream
from benchmarks.measure import Results, measure_bursts
from benchmarks.processes import Usage
from benchmarks.systems import JobError


class Named:
    """A system that answers at once, in this process."""

    pid = os.getpid()

    def __init__(self, name: str, ran: list[tuple[str, Burst]], fails: bool = False) -> None:
        self.name = name
        self._ran = ran
        self._fails = fails

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def run(self, burst: Burst) -> list[Stream]:
        self._ran.append((self.name, burst))
        if self._fails:
            raise JobError("no reason")
        return [Stream(0.0, (0.1,), 1.0, burst.tokens) for _ in range(burst.concurrency)]


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(measure, "SETTLE_S", 0)
    monkeypatch.setattr(measure, "QUIET_POLL_S", 0)
    monkeypatch.setattr(measure, "QUIET_TIMEOUT_S", 0)


async def run(systems, bursts, rounds, results=None, seconds=60.0) -> Results:
    results = results or Results()
    deadline_s = time.monotonic() + seconds
    await measure_bursts(systems, bursts, rounds, deadline_s, results, lambda _text: None)
    return results


async def test_measure_warms_each_system_up_and_takes_turns():
    ran: list[tuple[str, Burst]] = []
    systems = [Named("engine", ran), Named("worker", ran)]

    results = await run(systems, [Burst(16, 64, 20)], 2)

    alone, burst = Burst(16, 64), Burst(16, 64, 20)
    awake = [Burst(16, WARM_UP_TOKENS), Burst(16, WARM_UP_TOKENS, 20)]
    engine = [("engine", awake[0]), ("engine", alone)]
    worker = [("worker", awake[1]), ("worker", burst)]
    assert ran == [*engine, *worker, *worker, *engine]
    assert {key: len(samples) for key, samples in results.samples.items()} == {
        ("engine", alone): 2,
        ("worker", burst): 2,
    }


async def test_measure_few_requests_repeats_them_within_a_round():
    ran: list[tuple[str, Burst]] = []

    results = await run([Named("worker", ran)], [Burst(1, 64)], 1)

    assert [burst.tokens for _, burst in ran] == [WARM_UP_TOKENS, *[64] * measure.REPEATS]
    assert len(results.samples["worker", Burst(1, 64)]) == 1


async def test_measure_leaves_out_what_was_measured_already():
    ran: list[tuple[str, Burst]] = []
    systems = [Named("engine", ran), Named("worker", ran)]

    results = await run(systems, [Burst(16, 64, 20)], 1)
    ran.clear()
    await run(systems, [Burst(16, 64, 50)], 1, results)

    assert {name for name, _ in ran} == {"worker"}


async def test_measure_after_its_time_limit_starts_no_burst():
    ran: list[tuple[str, Burst]] = []

    results = await run([Named("worker", ran)], [Burst(1, 64)], 1, None, -1.0)

    assert ran == []
    assert results.samples == {}


async def test_measure_reports_a_failed_burst_once():
    ran: list[tuple[str, Burst]] = []
    systems = [Named("worker", ran, fails=True)]

    results = await run(systems, [Burst(16, 64)], 3)

    assert results.failures == {("worker", Burst(16, 64)): "no reason"}
    assert len(ran) == 1
    assert results.median("worker", Burst(16, 64)) is None


async def test_measure_waits_until_all_other_systems_are_idle(monkeypatch):
    waited: list[list[str]] = []

    async def note(others):
        waited.append([other.name for other in others])

    monkeypatch.setattr(measure, "wait_quiet", note)

    await run([Named(name, []) for name in ("engine", "worker", "worker-vllm")], [Burst(16, 64)], 1)

    assert waited == [["worker", "worker-vllm"], ["engine", "worker-vllm"], ["engine", "worker"]]


async def test_wait_quiet_looks_until_nothing_is_computed(monkeypatch):
    used_s = iter([0.0, 0.9, 1.0, 1.0])
    monkeypatch.setattr(measure, "QUIET_TIMEOUT_S", 60)
    monkeypatch.setattr(measure, "measure_tree", lambda _pid: Usage(0.0, 0.0, next(used_s), 0))

    await measure.wait_quiet([Named("engine", [])])

    assert next(used_s, None) is None


async def test_measure_does_not_wait_for_ever(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(measure, "measure_cpu_s", lambda _systems: float(next(clock)))
    monkeypatch.setattr(measure, "QUIET_TIMEOUT_S", 0.01)
    ran: list[tuple[str, Burst]] = []

    await run([Named("worker", ran)], [Burst(16, 64)], 1)

    assert ran
    assert next(clock) > 1


async def test_measure_reports_the_cost_of_the_endpoint():
    class Costly(Named):
        async def run(self, burst: Burst) -> list[Stream]:
            end_s = time.process_time() + 0.05
            while time.process_time() < end_s:
                pass
            return await super().run(burst)

    results = await run([Costly("worker", [])], [Burst(16, 64)], 1)

    [sample] = results.samples["worker", Burst(16, 64)]
    assert 0.05 <= sample.endpoint_cpu_s < 1
    assert math.isnan(sample.gap_p50_ms)
