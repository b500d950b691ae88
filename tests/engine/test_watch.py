import pytest

from worker.engine import watch as watch_module
from worker.engine.client import Health
from worker.engine.watch import LONGEST_LOOK_S, Watch, WatchLimits

STEP_S = 1.0
LIMITS = WatchLimits(silence_s=3, stall_s=10)


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


class Bench:
    def __init__(self, monkeypatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(watch_module.time, "monotonic", lambda: self.now)
        self.client = Client()
        self.watch = Watch(self.client, LIMITS)

    async def look(self, times: int = 1, step_s: float = STEP_S) -> str | None:
        problem = None
        for _ in range(times):
            self.now += step_s
            problem = problem or await self.watch.look()
        return problem


@pytest.fixture
def bench(monkeypatch) -> Bench:
    return Bench(monkeypatch)


async def test_look_at_a_dead_engine_says_so(bench):
    bench.client.health = Health.DEAD
    assert await bench.look() == "vLLM's engine process died"


async def test_look_at_a_silent_server_waits_for_the_limit(bench):
    bench.client.health = Health.SILENT
    assert await bench.look(3) is None
    assert await bench.look() == "vLLM has not answered for 4 s"


async def test_look_forgets_silence_after_an_answer(bench):
    bench.client.health = Health.SILENT
    await bench.look(3)
    bench.client.health = Health.OK
    await bench.look()
    bench.client.health = Health.SILENT
    assert await bench.look(3) is None


async def test_look_does_not_count_the_time_of_a_freeze(bench):
    bench.client.health = Health.SILENT
    bench.client.active = 1
    assert await bench.look(5, step_s=LONGEST_LOOK_S + 3600) is None
    bench.client.health = Health.OK
    assert await bench.look(5, step_s=LONGEST_LOOK_S + 3600) is None


async def test_look_at_an_engine_that_stands_still_under_load_says_so(bench):
    bench.client.active = 1
    assert await bench.look(11) is None
    assert "no progress for 1" in await bench.look(2)


async def test_look_at_an_engine_that_moves_is_content(bench):
    bench.client.active = 1
    for step in range(40):
        bench.client.statistics = frozenset({f"vllm:generation_tokens_total {step // 8}"})
        assert await bench.look() is None


async def test_look_at_an_idle_engine_reads_no_statistics(bench):
    assert await bench.look(100) is None
    assert bench.client.readings == 0


async def test_look_starts_anew_with_the_next_request(bench):
    bench.client.active = 1
    assert await bench.look(10) is None
    bench.client.active = 0
    await bench.look()
    bench.client.active = 1
    assert await bench.look(10) is None


async def test_look_without_statistics_says_nothing(bench):
    bench.client.statistics = frozenset()
    bench.client.active = 1
    assert await bench.look(100) is None


async def test_look_reads_the_statistics_seldom(bench):
    bench.client.active = 1
    await bench.look(8, step_s=0.25)
    assert bench.client.readings <= 3
