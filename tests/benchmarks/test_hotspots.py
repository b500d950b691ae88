from __future__ import annotations

import cProfile
import os
import signal
import sysconfig
from pathlib import Path

import pytest

from benchmarks.hotspots import name_function, profile_worker, read_hotspots


class Clock:
    """Goes on where a function says so, not by itself."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def work(clock: Clock) -> None:
    rest(clock)
    clock.now_s += 0.75


def rest(clock: Clock) -> None:
    clock.now_s += 0.25


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    clock = Clock()
    found = cProfile.Profile(clock)
    found.runcall(work, clock)
    found.dump_stats(tmp_path / "worker.prof")
    return tmp_path / "worker.prof"


def test_read_hotspots_begins_with_what_took_most_time(profile):
    spots = read_hotspots(profile)

    assert [spot.name.split()[-1] for spot in spots[:2]] == ["work", "rest"]
    assert spots[0].name.startswith("tests/benchmarks/test_hotspots.py:")
    assert [(spot.calls, spot.share) for spot in spots[:2]] == [(1, 0.75), (1, 0.25)]


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
