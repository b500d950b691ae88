from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from benchmarks.sampler import ROOT, SITE, Sampler, name_function, read_samples

BUSY = """
import os, signal, sys, time

def spin():
    end = time.process_time() + 0.5
    while time.process_time() < end:
        pass

os.kill(os.getpid(), signal.SIGUSR1)
spin()
time.sleep(0.2)
os.kill(os.getpid(), signal.SIGUSR2)
"""


def outer(sampler: Sampler) -> None:
    inner(sampler)
    sampler.take(sys._getframe())


def inner(sampler: Sampler) -> None:
    sampler.take(sys._getframe())


def test_each_sample_counts_the_innermost_function_and_all_on_the_stack(tmp_path):
    sampler = Sampler(tmp_path / "1.json")
    outer(sampler)
    sampler.end()

    found = read_samples(tmp_path / "1.json")

    own = {name.split()[-1]: times for name, times in found.own.items()}
    within = {name.split()[-1]: times for name, times in found.within.items()}
    assert own == {"outer": 1, "inner": 1}
    assert (within["outer"], within["inner"]) == (2, 1)


def test_a_process_samples_its_cpu_time_between_two_signals(tmp_path: Path):
    (tmp_path / "sitecustomize.py").write_text(SITE.format(root=str(ROOT), folder=str(tmp_path)))
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}

    busy = subprocess.Popen([sys.executable, "-c", BUSY], env=environ)

    assert busy.wait(30) == 0
    found = read_samples(tmp_path / f"{busy.pid}.json")
    [spin] = [name for name in found.own if name.endswith(" spin")]
    assert 20 <= found.own[spin] <= 600
    assert found.own[spin] >= 0.9 * found.own.total()


def test_without_signals_nothing_is_sampled(tmp_path: Path):
    (tmp_path / "sitecustomize.py").write_text(SITE.format(root=str(ROOT), folder=str(tmp_path)))
    code = "import signal; print(signal.getitimer(signal.ITIMER_PROF))"

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "(0.0, 0.0)"


def test_end_stops_the_timer(tmp_path: Path):
    before = signal.getsignal(signal.SIGPROF)
    sampler = Sampler(tmp_path / "1.json")
    try:
        sampler.begin()
        assert signal.getitimer(signal.ITIMER_PROF)[1] > 0
        sampler.end()
        assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    finally:
        signal.signal(signal.SIGPROF, before)


@pytest.mark.parametrize(
    ("file", "shown"),
    [
        pytest.param(f"{ROOT}/worker/start.py", "worker/start.py", id="ours"),
        pytest.param(
            f"{sysconfig.get_path('purelib')}/aiohttp/client.py", "aiohttp/client.py", id="library"
        ),
        pytest.param(
            f"{sysconfig.get_path('stdlib')}/asyncio/tasks.py", "asyncio/tasks.py", id="python"
        ),
        pytest.param("<frozen os>", "<frozen os>", id="frozen"),
    ],
)
def test_name_function_hides_where_libraries_lie(file: str, shown: str):
    code = (lambda: time.sleep(0)).__code__.replace(
        co_filename=file, co_firstlineno=7, co_qualname="Some.thing"
    )

    assert name_function(code) == f"{shown}:7 Some.thing"
