"""One function's result from a forked process, which has all that is imported already."""

from __future__ import annotations

import os
import pickle
import select
import signal
import time
from collections.abc import Callable
from typing import Any

TIMEOUT_S = 60.0
"""A forked process that holds a lock for ever would look like this."""


class ForkError(Exception):
    """The forked process gave no result."""


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
            # Whatever it was: nothing of this process's own end may run in the fork.
            os._exit(1)
    os.close(result_end)
    try:
        data = _read(result, timeout_s)
    finally:
        os.close(result)
        # It has sent all that it had, or it is late: nothing that it still does is wanted.
        os.kill(pid, signal.SIGKILL)
        _pid, status = os.waitpid(pid, 0)
    if not data:
        raise ForkError(f"no result, wait status {status}")
    return pickle.loads(data)  # noqa: S301  from our own fork


def _read(descriptor: int, timeout_s: float) -> bytes:
    """Read to the end of the pipe; what came too late is as good as nothing."""
    deadline = time.monotonic() + timeout_s
    data = b""
    while (left := deadline - time.monotonic()) > 0:
        if select.select([descriptor], [], [], left)[0]:
            chunk = os.read(descriptor, 65536)
            if not chunk:
                return data
            data += chunk
    return b""
