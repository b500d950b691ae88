"""The processes below a worker, found in /proc."""

from __future__ import annotations

import asyncio
from pathlib import Path

GONE_TIMEOUT_S = 15


def descendants(pid: int) -> set[int]:
    """Return the ids of all live processes below `pid`."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            parents[int(stat.parent.name)] = int(parent)
    found: set[int] = set()
    grown = {pid}
    while grown:
        found |= grown
        grown = {child for child, parent in parents.items() if parent in found} - found
    return found - {pid}


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def find_process(pids: set[int], word: str) -> int:
    """Return the process below the worker whose command line has `word`."""
    for pid in pids:
        if word in Path(f"/proc/{pid}/cmdline").read_text():
            return pid
    raise LookupError(word)


async def wait_gone(pids: set[int]) -> None:
    async with asyncio.timeout(GONE_TIMEOUT_S):
        while any(is_alive(pid) for pid in pids):
            await asyncio.sleep(0.05)
