import asyncio
import os
import time
from pathlib import Path

import pytest

from worker.engine import heartbeat
from worker.engine.heartbeat import BEAT_INTERVAL_S, MAX_CHECK_GAP_S, Heartbeats

STEP_S = 1.0


class Harness:
    """Servers whose heartbeats a test gives, and a clock that it sets."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.now = 100.0
        self.beats = 0
        self.folder = folder
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        self.heartbeats = Heartbeats(folder)

    def beat(self, *pids: int) -> None:
        for pid in pids:
            self.beats += 1
            path = self.folder / f"{heartbeat.PREFIX}{pid}"
            path.touch()
            os.utime(path, ns=(self.beats, self.beats))

    def check(self, step_s: float = STEP_S) -> tuple[str, float]:
        self.now += step_s
        return self.heartbeats.check()


@pytest.fixture
def harness(tmp_path, monkeypatch) -> Harness:
    return Harness(tmp_path, monkeypatch)


def test_check_without_servers_finds_no_silence(harness):
    assert harness.check() == ("", 0.0)


def test_check_of_servers_that_beat_finds_no_silence(harness):
    for _ in range(5):
        harness.beat(7, 8)
        assert harness.check()[1] == 0.0


def test_check_of_one_silent_server_names_it_while_the_others_beat(harness):
    harness.beat(7, 8, 9)
    harness.check()
    for step in range(1, 5):
        harness.beat(7, 9)
        assert harness.check() == ("8", step * STEP_S)
    harness.beat(7, 8, 9)
    assert harness.check()[1] == 0.0


def test_check_of_a_server_that_starts_later_counts_from_its_first_beat(harness):
    harness.beat(7)
    harness.check(4)
    harness.beat(7, 8)
    assert harness.check(4)[1] == 0.0
    harness.beat(7)
    assert harness.check() == ("8", STEP_S)


def test_check_does_not_count_the_time_of_a_freeze(harness):
    harness.beat(7)
    for _ in range(5):
        assert harness.check(MAX_CHECK_GAP_S + 3600)[1] == 0.0


async def test_begin_beats_while_the_event_loop_runs_even_without_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "BEAT_INTERVAL_S", 0.01)
    heartbeat.begin(tmp_path)
    path = tmp_path / f"{heartbeat.PREFIX}{os.getpid()}"
    seen = set()
    async with asyncio.timeout(15):
        while len(seen) < 3:
            seen.add(path.stat().st_mtime_ns)
            await asyncio.sleep(0.01)
    path.unlink()
    await asyncio.sleep(0.05)
    path.touch()
    os.utime(path, ns=(1, 1))
    async with asyncio.timeout(15):
        while path.stat().st_mtime_ns == 1:
            await asyncio.sleep(0.01)


async def test_wait_silent_returns_after_the_limit_and_one_beat(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "CHECK_INTERVAL_S", 0.01)
    (tmp_path / f"{heartbeat.PREFIX}7").touch()
    began = asyncio.get_running_loop().time()
    problem = await asyncio.wait_for(heartbeat.wait_silent(tmp_path, 0.2), 15)
    assert "API server with process id 7 has not responded" in problem
    assert asyncio.get_running_loop().time() - began > BEAT_INTERVAL_S + 0.2
