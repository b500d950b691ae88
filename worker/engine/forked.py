"""Run a function in a fork of this process, which has already imported everything."""

from __future__ import annotations

import os
import pickle
import select
import signal
import time
from collections.abc import Callable
from typing import Any

TIMEOUT_S = 60.0
"""A fork that inherits a locked lock hangs; it is ended after this time."""


class ForkError(Exception):
    """The forked process returned no result."""


def run_in_fork(work: Callable[[], Any], timeout_s: float = TIMEOUT_S) -> Any:
    """Return what `work` returns, run in a fork of this process.

    Args:
        work: Its result must be picklable.
        timeout_s: Seconds until the process is ended.

    Raises:
        ForkError: It failed, was ended by a signal, or took too long.
    """
    result, result_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(result)
            with os.fdopen(result_end, "wb") as pipe:
                pipe.write(pickle.dumps(work()))
            os._exit(0)
        finally:
            # Skip the parent's exit handlers, whatever happened.
            os._exit(1)
    os.close(result_end)
    try:
        data = _read(result, timeout_s)
    finally:
        os.close(result)
        # It has sent its result or is too late; in both cases it is not needed any more.
        os.kill(pid, signal.SIGKILL)
        _pid, status = os.waitpid(pid, 0)
    if not data:
        raise ForkError(f"no result, wait status {status}")
    return pickle.loads(data)  # noqa: S301  from our own fork


def _read(descriptor: int, timeout_s: float) -> bytes:
    """Read to the end of the pipe; partial data after the deadline is discarded."""
    deadline = time.monotonic() + timeout_s
    data = b""
    while (left := deadline - time.monotonic()) > 0:
        if select.select([descriptor], [], [], left)[0]:
            chunk = os.read(descriptor, 65536)
            if not chunk:
                return data
            data += chunk
    return b""
