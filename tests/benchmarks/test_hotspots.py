from __future__ import annotations

import cProfile
import os
import signal
import sysconfig
import time
from pathlib import Path

import pytest

from benchmarks.hotspots import name_function, profile_worker, read_hotspots


def spin() -> None:
    end_s = time.perf_counter() + 0.05
    while time.perf_counter() < end_s:
        pass


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    found = cProfile.Profile()
    found.runcall(spin)
    found.dump_stats(tmp_path / "worker.prof")
    return tmp_path / "worker.prof"


def test_read_hotspots_begins_with_what_took_most_time(profile):
    spots = read_hotspots(profile)

    assert spots[0].name.startswith("tests/benchmarks/test_hotspots.py:")
    assert spots[0].name.endswith(" spin")
    assert spots[0].calls == 1
    assert sum(spot.share for spot in spots) == pytest.approx(1)


@pytest.mark.parametrize(
    ("function", "shown"),
    [
        pytest.param(("~", 0, "<built-in method select>"), "<built-in method select>", id="c"),
        pytest.param(
            (f"{sysconfig.get_path('purelib')}/aiohttp/client.py", 7, "request"),
            "aiohttp/client.py:7 request",
            id="library",
        ),
        pytest.param(
            (f"{sysconfig.get_path('stdlib')}/asyncio/tasks.py", 9, "sleep"),
            "asyncio/tasks.py:9 sleep",
            id="standard-library",
        ),
    ],
)
def test_name_function_hides_where_libraries_lie(function, shown):
    assert name_function(*function) == shown


class Worker:
    """Stands for a worker in this process."""

    pid = os.getpid()

    def __init__(self) -> None:
        self.ran: list[object] = []

    async def run(self, burst: object) -> None:
        self.ran.append(burst)


async def test_profile_worker_runs_the_bursts_between_two_signals(profile, monkeypatch):
    worker, signals = Worker(), []
    monkeypatch.setattr(
        os, "kill", lambda pid, number: signals.append((pid, number, worker.ran[:]))
    )

    spots = await profile_worker(worker, profile, ["first", "second"])

    assert signals == [
        (worker.pid, signal.SIGUSR1, []),
        (worker.pid, signal.SIGUSR2, ["first", "second"]),
    ]
    assert spots == read_hotspots(profile)
