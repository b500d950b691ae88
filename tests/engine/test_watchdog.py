import time

import pytest

from worker.engine.client import Health
from worker.engine.watchdog import MAX_POLL_S, EngineWatchdog, WatchdogLimits

STEP_S = 1.0
LIMITS = WatchdogLimits(silence_s=3, stall_s=10)


class Client:
    """An engine whose state a test sets."""

    def __init__(self) -> None:
        self.health = Health.OK
        self.active = 0
        self.statistics = frozenset({"vllm:generation_tokens_total 0"})
        self.readings = 0

    async def check_health(self) -> Health:
        return self.health

    async def read_statistics(self) -> frozenset[str]:
        self.readings += 1
        return self.statistics


class Harness:
    def __init__(self, monkeypatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        self.client = Client()
        self.watchdog = EngineWatchdog(self.client, LIMITS)  # type: ignore[arg-type]

    async def check(self, times: int = 1, step_s: float = STEP_S) -> str | None:
        problem = None
        for _ in range(times):
            self.now += step_s
            problem = problem or await self.watchdog.check()
        return problem


@pytest.fixture
def harness(monkeypatch) -> Harness:
    return Harness(monkeypatch)


async def test_check_dead_engine_reports_it(harness):
    harness.client.health = Health.DEAD
    assert await harness.check() == "vLLM's engine process died"


async def test_check_silent_server_reports_it_after_the_limit(harness):
    harness.client.health = Health.SILENT
    assert await harness.check(3) is None
    assert await harness.check() == "vLLM has not answered for 4 s"


async def test_check_after_an_answer_resets_the_silence(harness):
    harness.client.health = Health.SILENT
    await harness.check(3)
    harness.client.health = Health.OK
    await harness.check()
    harness.client.health = Health.SILENT
    assert await harness.check(3) is None


async def test_check_after_a_freeze_ignores_its_time(harness):
    harness.client.health = Health.SILENT
    harness.client.active = 1
    assert await harness.check(5, step_s=MAX_POLL_S + 3600) is None
    harness.client.health = Health.OK
    assert await harness.check(5, step_s=MAX_POLL_S + 3600) is None


async def test_check_stalled_engine_under_load_reports_it(harness):
    harness.client.active = 1
    assert await harness.check(11) is None
    assert "no progress for 1" in await harness.check(2)


async def test_check_engine_with_progress_returns_none(harness):
    harness.client.active = 1
    for step in range(40):
        harness.client.statistics = frozenset({f"vllm:generation_tokens_total {step // 8}"})
        assert await harness.check() is None


async def test_check_idle_engine_reads_no_statistics(harness):
    assert await harness.check(100) is None
    assert harness.client.readings == 0


async def test_check_next_request_restarts_the_stall_time(harness):
    harness.client.active = 1
    assert await harness.check(10) is None
    harness.client.active = 0
    await harness.check()
    harness.client.active = 1
    assert await harness.check(10) is None


async def test_check_without_statistics_returns_none(harness):
    harness.client.statistics = frozenset()
    harness.client.active = 1
    assert await harness.check(100) is None


async def test_check_limits_reads_of_the_statistics(harness):
    harness.client.active = 1
    await harness.check(8, step_s=0.25)
    assert harness.client.readings <= 3
