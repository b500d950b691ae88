"""Tie the life of a process to its parent's, whatever ends the parent (Linux).

An orphaned engine keeps a GPU, and an orphaned heartbeat tells the platform that a dead worker is
alive. A signal handler cannot prevent either: `kill -9` runs no handler. The kernel can.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from multiprocessing import util

import psutil

PR_SET_PDEATHSIG = 1
"""Source: linux/prctl.h."""

ENDED = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
"""States of a process that holds no memory any more."""


def die_with_parent(parent_pid: int | None = None, number: int = signal.SIGKILL) -> None:
    """Ask the kernel to signal this process as soon as its parent ends.

    The signal comes when the *thread* that started this process ends, so start processes from a
    thread that lives as long as the process. It is not inherited: every process asks for itself.

    Args:
        parent_pid: The expected parent; if that one is gone already, this process ends at once,
            because the kernel only reports deaths after the call.
        number: The signal to receive.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if parent_pid is not None and os.getppid() != parent_pid:
        os.kill(os.getpid(), number)


def tie_forks_to_parent(*, close_sockets: bool = False) -> None:
    """Make every process that is forked from this one, and from those, die with its parent.

    Args:
        close_sockets: Whether a process that `multiprocessing` forks gives up the sockets that it
            inherits. As long as it holds one, the other side does not learn that this process has
            closed it: vLLM would go on generating for a client that has left.
    """
    if close_sockets:
        # Not at every fork: uvloop runs those hooks also in a child that is about to become another
        # program, whose output goes through such a socket.
        util.register_after_fork(_close_sockets, lambda close: close())

    def in_child() -> None:
        # A forked child shares the event loop's wake-up socket: a signal sent to the child would
        # wake the parent as if it had been sent there.
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        die_with_parent()

    os.register_at_fork(after_in_child=in_child)


def _close_sockets() -> None:
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # One of them was the listing's own.
            if os.readlink(f"/proc/self/fd/{entry}").startswith("socket:"):
                os.close(int(entry))


def group_is_alive(group: int) -> bool:
    """Return whether the process group `group` has a process that still runs.

    A signal 0 would count zombies too, which hold no memory; where a container's first process
    reaps no strangers, they stay.
    """
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # It may end meanwhile.
            if os.getpgid(process.pid) == group and process.status() not in ENDED:
                return True
    return False
