from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import orjson
import pytest

from benchmarks import hotspots
from benchmarks.hotspots import Hotspot, describe, name_library, profile_worker
from benchmarks.sampler import Samples

SAMPLES = Samples(
    own=Counter({"aiohttp/client.py:7 request": 6, "worker/start.py:9 run": 3, "rare.py:1 f": 1}),
    within=Counter(
        {"aiohttp/client.py:7 request": 6, "worker/start.py:9 run": 10, "rare.py:1 f": 1}
    ),
)


def test_describe_gives_shares_of_libraries_and_functions():
    profile = describe("the worker", SAMPLES)

    assert profile.samples == 10
    assert profile.libraries == {"aiohttp": 0.6, "worker": 0.3, "rare": 0.1}
    assert profile.hotspots == [
        Hotspot("aiohttp/client.py:7 request", 0.6, 0.6),
        Hotspot("worker/start.py:9 run", 0.3, 1.0),
        Hotspot("rare.py:1 f", 0.1, 0.1),
    ]


def test_describe_leaves_out_what_is_little(monkeypatch):
    monkeypatch.setattr(hotspots, "MIN_SHARE", 0.2)
    monkeypatch.setattr(hotspots, "MAX_HOTSPOTS", 1)

    profile = describe("the worker", SAMPLES)

    assert list(profile.libraries) == ["aiohttp", "worker"]
    assert len(profile.hotspots) == 1


def test_a_process_that_did_nothing_has_an_empty_profile():
    profile = describe("the worker", Samples())

    assert (profile.samples, profile.libraries, profile.hotspots) == (0, {}, [])


@pytest.mark.parametrize(
    ("function", "library"),
    [
        ("aiohttp/client.py:7 request", "aiohttp"),
        ("threading.py:9 Thread.run", "threading"),
        ("<frozen os>:1 getenv", "<frozen os>"),
    ],
)
def test_name_library_returns_the_package_of_a_function(function, library):
    assert name_library(function) == library


class Worker:
    """Stands for a worker whose processes are not there."""

    pid = 1

    def __init__(self) -> None:
        self.ran: list[object] = []

    async def run(self, burst: object) -> None:
        self.ran.append(burst)


@pytest.fixture
def signals(monkeypatch, tmp_path: Path):
    """Signals sent, each with the bursts before it; at the last a process writes its file."""
    worker, sent = Worker(), []

    def kill(pid: int, number: int) -> None:
        sent.append((pid, number, worker.ran[:]))
        if number == signal.SIGUSR2:
            content = {"own": {f"of.py:{pid} f": 2}, "within": {f"of.py:{pid} f": 2}}
            (tmp_path / f"{pid}.json").write_bytes(orjson.dumps(content))

    monkeypatch.setattr(os, "kill", kill)
    monkeypatch.setattr(hotspots, "find_api_servers", lambda _pid: [2, 3])
    return worker, sent


async def test_profile_worker_runs_the_bursts_between_two_signals_to_all_processes(
    signals, tmp_path
):
    worker, sent = signals

    profiles = await profile_worker(worker, tmp_path, ["first", "second"])  # type: ignore[list-item]

    assert sent == [
        (1, signal.SIGUSR1, []),
        (2, signal.SIGUSR1, []),
        (3, signal.SIGUSR1, []),
        (1, signal.SIGUSR2, ["first", "second"]),
        (2, signal.SIGUSR2, ["first", "second"]),
        (3, signal.SIGUSR2, ["first", "second"]),
    ]
    assert [(p.process, p.samples, [h.name for h in p.hotspots]) for p in profiles] == [
        ("the worker's own process", 2, ["of.py:1 f"]),
        ("vLLM's API servers", 4, ["of.py:2 f", "of.py:3 f"]),
    ]


async def test_profile_worker_does_not_wait_for_ever(signals, tmp_path, monkeypatch):
    worker, _ = signals
    monkeypatch.setattr(os, "kill", lambda *_: None)
    monkeypatch.setattr(hotspots, "WRITE_TIMEOUT_S", 0.1)

    with pytest.raises(asyncio.TimeoutError):
        await profile_worker(worker, tmp_path, [])
