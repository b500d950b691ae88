"""End a process when its parent ends, for any reason (Linux).

An orphaned engine keeps a GPU, and an orphaned heartbeat reports a dead worker as alive. A signal
handler cannot prevent either, because `kill -9` runs no handler. The kernel can.
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

    The kernel sends the signal when the *thread* that started this process ends. Start processes
    from a thread that lives as long as they do. Child processes do not inherit the setting.

    Args:
        parent_pid: The expected parent. If it has already ended, this process ends at once,
            because the kernel only reports deaths after the call.
        number: The signal to receive.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if parent_pid is not None and os.getppid() != parent_pid:
        os.kill(os.getpid(), number)


def set_pdeathsig_on_fork(*, close_sockets: bool = False) -> None:
    """Make every process that is forked from this one, and from those, die with its parent.

    Args:
        close_sockets: Whether a process that `multiprocessing` forks closes its inherited sockets.
            An open copy hides from the other side that this process has closed the socket, and vLLM
            would continue to generate for a client that has disconnected.
    """
    if close_sockets:
        # Not `os.register_at_fork`: uvloop runs those hooks also in a child that is about to
        # execute another program, whose output goes through such a socket.
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

    A signal 0 would count zombies too, which hold no memory. They remain where a container's first
    process does not reap orphans.
    """
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # It may end meanwhile.
            if os.getpgid(process.pid) == group and process.status() not in ENDED:
                return True
    return False
