"""Detects the GPUs, memory and cores of this machine without importing torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

GIB = 1024**3
MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU.

    Attributes:
        name: As the driver calls it, e.g. `NVIDIA H100 80GB HBM3`.
        memory_bytes: All of its memory, bytes.
    """

    name: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class MachineInfo:
    """The parts of the machine that defaults depend on.

    Attributes:
        gpus: Visible NVIDIA GPUs, count.
        memory_bytes: Main memory that this process may use, bytes.
        gpu_bytes: Memory of the smallest visible GPU, bytes; None if unknown.
        gpu_name: Its name.
        cores: Processor cores that this process may use.
    """

    gpus: int
    memory_bytes: int
    gpu_bytes: int | None = None
    gpu_name: str | None = None
    cores: int = 1

    @property
    def has_gpu(self) -> bool:
        """Whether vLLM will run on a GPU."""
        return self.gpus > 0


def list_gpus() -> tuple[Gpu, ...]:
    """Return the machine's GPUs in the driver's order; empty without a working driver."""
    import pynvml  # Only a machine with a GPU needs it.

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    found: list[Gpu] = []
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                device = pynvml.nvmlDeviceGetHandleByIndex(index)
                memory = pynvml.nvmlDeviceGetMemoryInfo(device).total
                found.append(Gpu(pynvml.nvmlDeviceGetName(device), int(memory)))
            except pynvml.NVMLError:
                continue  # A GPU that the driver cannot reach.
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()
    return tuple(found)


def detect_machine(
    environ: Mapping[str, str],
    root: Path = Path("/"),
    gpus: Callable[[], tuple[Gpu, ...]] = list_gpus,
) -> MachineInfo:
    """Detect GPUs, cores and memory of the machine.

    Args:
        environ: The process's environment; CUDA_VISIBLE_DEVICES limits the GPUs.
        root: Root of the file system, for tests.
        gpus: Lists the driver's GPUs.
    """
    devices = sum(1 for path in (root / "dev").glob("nvidia*") if path.name[6:].isdigit())
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and devices:
        listed = [part.strip() for part in visible.split(",") if part.strip()]
        # CUDA stops at the first invalid entry; -1 is the customary way to disable all.
        count = listed.index("-1") if "-1" in listed else len(listed)
        devices = min(devices, count) if not visible.startswith("MIG-") else count
    smallest = min(gpus(), key=lambda gpu: gpu.memory_bytes, default=None) if devices else None
    return MachineInfo(
        gpus=devices,
        memory_bytes=_memory_bytes(root),
        gpu_bytes=None if smallest is None else smallest.memory_bytes,
        gpu_name=None if smallest is None else smallest.name,
        cores=_count_cores(root),
    )


def _count_cores(root: Path) -> int:
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = (root / "sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return min(cores, max(1, int(quota) // int(period))) if quota.isdigit() else cores


def _memory_bytes(root: Path) -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        text = (root / "sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(text)) if text.isdigit() else total
