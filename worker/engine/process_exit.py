"""Detects at once when any of vLLM's processes ends.

vLLM takes up to 10 s: it shuts down what is left before it reports the loss, and its API server
checks its engine every 5 s. Jobs that arrive meanwhile would fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import os

import psutil

PREFIX = "VLLM::"
"""How vLLM begins the titles of its processes unless VLLM_PROCESS_NAME_PREFIX changes it."""


def find_processes(group: int, prefix: str = PREFIX) -> dict[int, str]:
    """Return the titles of vLLM's processes in a process group, by process id.

    Helpers of Python and PyTorch have no such title; they may end at any time.
    """
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, IndexError):
            title = process.cmdline()[0]
            if title.startswith(prefix) and os.getpgid(process.pid) == group:
                found[process.pid] = title.removeprefix(prefix)
    return found


async def wait_ended(group: int, prefix: str = PREFIX) -> str:
    """Wait until one of the processes that vLLM has now ends; return which, as text.

    Args:
        group: Their process group; its first process is not among them.
        prefix: How their titles begin.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[str] = loop.create_future()

    def report(pid: int, title: str) -> None:
        if not ended.done():
            ended.set_result(f"vLLM's process {title} (process id {pid}) ended")

    descriptors = []
    try:
        for pid, title in find_processes(group, prefix).items():
            try:
                descriptors.append(os.pidfd_open(pid))
            except ProcessLookupError:
                report(pid, title)
            except OSError:
                continue  # Not allowed by this container; vLLM's own checks remain.
            else:
                loop.add_reader(descriptors[-1], report, pid, title)
        return await ended
    finally:
        for descriptor in descriptors:
            loop.remove_reader(descriptor)
            os.close(descriptor)
