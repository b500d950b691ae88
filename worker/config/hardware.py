"""What this machine has, found without importing torch: GPUs, memory, cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from worker.config.gpu import Gpu, list_gpus

GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Hardware:
    """The parts of the machine that defaults depend on.

    Attributes:
        gpus: Visible NVIDIA GPUs, count.
        memory_bytes: Main memory that this process may use, bytes.
        gpu_bytes: Memory of the smallest visible GPU, bytes; None where nobody can say.
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


def detect_hardware(
    environ: Mapping[str, str],
    root: Path = Path("/"),
    gpus: Callable[[], tuple[Gpu, ...]] = list_gpus,
) -> Hardware:
    """Find what the machine has.

    Args:
        environ: The process's environment; CUDA_VISIBLE_DEVICES narrows the GPUs.
        root: Root of the file system, for tests.
        gpus: Asks the driver for its GPUs, if there are any.
    """
    devices = sum(1 for path in (root / "dev").glob("nvidia*") if path.name[6:].isdigit())
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and devices:
        listed = [part.strip() for part in visible.split(",") if part.strip()]
        # CUDA stops at the first invalid entry; -1 is the customary way to say "none".
        count = listed.index("-1") if "-1" in listed else len(listed)
        devices = min(devices, count) if not visible.startswith("MIG-") else count
    smallest = min(gpus(), key=lambda gpu: gpu.memory_bytes, default=None) if devices else None
    return Hardware(
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
    limit = root / "sys/fs/cgroup/memory.max"
    try:
        text = limit.read_text().strip()
    except OSError:
        return total
    return min(total, int(text)) if text.isdigit() else total
