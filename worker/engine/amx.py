"""Permission to use the AMX tile registers, which Linux grants per process and only on request.

vLLM's CPU attention takes its AMX kernel wherever the processor has AMX, and leaves the request
to oneDNN, which makes it only once a matrix is large enough for its own AMX kernel. With a small
model the first request then ends the engine with SIGILL (seen with vLLM 0.32.0).
"""

from __future__ import annotations

import ctypes
import platform

SYS_ARCH_PRCTL = 158
ARCH_REQ_XCOMP_PERM = 0x1023
XFEATURE_XTILEDATA = 18
"""From asm/unistd_64.h and asm/prctl.h of Linux on x86-64."""


def permit_amx() -> bool:
    """Ask for the AMX tile registers; forked processes inherit the permission.

    Returns:
        Whether this process may use AMX now; False where processor or kernel has none.
    """
    if platform.machine() != "x86_64":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.syscall(SYS_ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0)
