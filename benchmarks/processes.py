"""CPU time and peak memory of processes from /proc, separately for vLLM's engine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ENGINE_NAMES = ("VLLM::EngineCore", "VLLM::Worker", "VLLM::DP")
"""Titles of vLLM's engine processes; all others are front end."""

API_SERVER = "VLLM::APIServer"
"""Start of the titles of vLLM's API servers if there are several."""

SOCKET_OPTION = "--uds"
"""Option of vLLM's server for its Unix socket."""

PEAK, PRESENT = "VmHWM:", "VmRSS:"
"""Resident sizes in a process's status: peak and current."""

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """Resource usage of a process and its descendants.

    Attributes:
        root_cpu_s: CPU seconds of the process itself.
        front_cpu_s: CPU seconds of all processes but the engine's.
        engine_cpu_s: CPU seconds of vLLM's engine and its workers.
        front_peak_bytes: Sum of the peak resident sizes of all processes but the engine's.
    """

    root_cpu_s: float
    front_cpu_s: float
    engine_cpu_s: float
    front_peak_bytes: int


def measure_tree(root: int, proc: Path = Path("/proc")) -> Usage:
    """Return the usage of process `root` and of all its live descendants."""
    root_s = front_s = engine_s = 0.0
    peak_bytes = 0
    for pid in find_tree(root, proc):
        with suppress(OSError):  # It may end while we look.
            cpu_s = read_cpu_s(proc / str(pid))
            if is_engine(proc / str(pid)):
                engine_s += cpu_s
            else:
                front_s += cpu_s
                root_s += cpu_s if pid == root else 0.0
                peak_bytes += read_memory_bytes(proc / str(pid) / "status", PEAK)
    return Usage(root_s, front_s, engine_s, peak_bytes)


def reset_peaks(root: int, proc: Path = Path("/proc")) -> None:
    """Reset the peak sizes of `root` and its descendants to the current sizes."""
    for pid in find_tree(root, proc):
        with suppress(OSError):
            (proc / str(pid) / "clear_refs").write_text("5")


def find_tree(root: int, proc: Path = Path("/proc")) -> set[int]:
    """Return the ids of process `root` and of all processes below it."""
    parents = dict(_read_parents(proc))
    found: set[int] = set()
    grown = {root}
    while grown:
        found |= grown
        grown = {pid for pid, parent in parents.items() if parent in found} - found
    return found


def find_server(root: int, proc: Path = Path("/proc")) -> tuple[int, list[str]]:
    """Return id and arguments of the vLLM server below process `root`.

    Raises:
        LookupError: There is none.
    """
    for pid in sorted(find_tree(root, proc)):
        # setproctitle joins the arguments of its process with spaces.
        arguments = re.split("[\0 ]", (proc / str(pid) / "cmdline").read_text(errors="replace"))
        if SOCKET_OPTION in arguments:
            return pid, arguments
    raise LookupError(f"no process below {root} serves on a Unix socket")


def find_socket(pid: int, proc: Path = Path("/proc")) -> Path:
    """Return the Unix socket on which the vLLM below process `pid` serves."""
    _, arguments = find_server(pid, proc)
    return Path(arguments[arguments.index(SOCKET_OPTION) + 1])


def find_api_servers(root: int, proc: Path = Path("/proc")) -> list[int]:
    """Return the ids of the processes below `root` that answer requests for vLLM.

    Raises:
        LookupError: There are none.
    """
    several = [pid for pid in find_tree(root, proc) if read_title(proc, pid).startswith(API_SERVER)]
    return sorted(several) or [find_server(root, proc)[0]]


def read_cpu_s(process: Path) -> float:
    """Return user and system time of a process, seconds.

    The kernel tells a process's time in steps of 10 ms, and that of each thread that runs in
    nanoseconds, where it does (`schedstat`); the larger of both has the ended threads' as well.
    """
    fields = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
    coarse_s = (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    fine_s = 0.0
    for schedule in process.glob("task/*/schedstat"):
        with suppress(OSError):
            fine_s += int(schedule.read_text().split()[0]) / 1e9
    return max(coarse_s, fine_s)


def read_memory_bytes(status: Path, kind: str) -> int:
    """Return a size of a process, bytes; 0 for one that has no memory left.

    Args:
        status: The process's file of this name in /proc.
        kind: `PEAK` or `PRESENT`.
    """
    for line in status.read_text(errors="replace").splitlines():
        if line.startswith(kind):
            return int(line.split()[1]) * 1024
    return 0


def is_engine(process: Path) -> bool:
    """Return whether a process belongs to vLLM's engine, by its title."""
    return read_title(process.parent, int(process.name)).startswith(ENGINE_NAMES)


def read_title(proc: Path, pid: int) -> str:
    """Return a process's title, or its command line without one."""
    with suppress(OSError):
        return (proc / str(pid) / "cmdline").read_text(errors="replace")
    return ""


def _read_parents(proc: Path) -> Iterator[tuple[int, int]]:
    for stat in proc.glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = stat.read_text(errors="replace").rpartition(")")[2].split()[1]
            yield int(stat.parent.name), int(parent)
