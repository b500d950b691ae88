"""A function in a forked process."""

import os
import time

import pytest

from worker.engine.forked import ForkError, run_in_fork


def test_result_comes_from_another_process():
    data = bytes(200_000)
    pid, same = run_in_fork(lambda: (os.getpid(), data))
    assert pid != os.getpid()
    assert same == data


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(lambda: 1 / 0, id="raises"),
        pytest.param(lambda: os._exit(3), id="exits"),
        pytest.param(lambda: os.kill(os.getpid(), 9), id="killed"),
        pytest.param(lambda: lambda: None, id="not picklable"),
        pytest.param(lambda: time.sleep(60), id="hangs"),
    ],
)
def test_process_without_a_result_is_an_error_and_leaves_nothing(work, capfd):
    began = time.monotonic()
    with pytest.raises(ForkError):
        run_in_fork(work, timeout_s=0.3)
    assert time.monotonic() - began < 5
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
