"""RunPod's GPU pools, with memory, compute capability and price.

Source:
    Pools: https://docs.runpod.io/references/gpu-types and, for those with `hub=False`,
    https://docs.runpod.io/flash/configuration/gpu-types. Prices: `PRICES_SOURCE`, flex workers, as
    read in 2026 (runpod/docs at a900806, where an RTX PRO 6000 is "6000s PRO"); the console shows
    the current ones. RTX 5090 and slices have no price there. Memory: as `nvidia-smi` shows it for
    the smallest GPU of a pool, which is less than the nominal size. Slices: `SLICES_SOURCE`, and
    for their share of a GPU
    https://docs.nvidia.com/datacenter/tesla/mig-user-guide/supported-mig-profiles.html.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

PRICES_SOURCE = "https://docs.runpod.io/serverless/endpoints/endpoint-configurations"
"""Source of the prices."""

SLICES_SOURCE = "https://docs.runpod.io/references/gpu-types"
"""Source of the slices of a GPU (MIG). No pool has them, only Pods."""

MIB = 1024**2

PoolName = Literal[
    "AMPERE_16",
    "AMPERE_24",
    "ADA_24",
    "ADA_32_PRO",
    "AMPERE_48",
    "ADA_48_PRO",
    "AMPERE_80",
    "ADA_80_PRO",
    "BLACKWELL_96",
    "HOPPER_141",
    "BLACKWELL_180",
]


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool of GPUs; RunPod chooses one of them.

    Attributes:
        name: The pool's id, or the name of a slice.
        gpus: Short names of its GPUs.
        nominal_gb: Memory in RunPod's name of the pool, GB.
        memory_mib: Memory of the smallest GPU, MiB.
        capability: CUDA compute capability of the oldest GPU, major and minor.
        usd_per_s: Price of one GPU as a flex worker, US dollars per second; None if unpublished.
        hub: Whether RunPod documents it for hub files; other pools are documented for endpoints.
    """

    name: str
    gpus: tuple[str, ...]
    nominal_gb: int
    memory_mib: int
    capability: tuple[int, int]
    usd_per_s: float | None = None
    hub: bool = True

    @property
    def memory_bytes(self) -> int:
        """Memory of the smallest GPU, bytes."""
        return self.memory_mib * MIB


AMPERE, AMPERE_RTX, ADA = (8, 0), (8, 6), (8, 9)
HOPPER, BLACKWELL, BLACKWELL_RTX = (9, 0), (10, 0), (12, 0)
RTX_PRO_6000_MIB = 97887

POOLS = (
    Pool("AMPERE_16", ("A4000", "A4500", "RTX 4000", "RTX 2000"), 16, 16376, AMPERE_RTX, 0.00016),
    Pool("AMPERE_24", ("L4", "A5000", "3090"), 24, 23034, AMPERE_RTX, 0.00019),
    Pool("ADA_24", ("4090",), 24, 24564, ADA, 0.00031),
    Pool("ADA_32_PRO", ("5090",), 32, 32607, BLACKWELL_RTX, hub=False),
    Pool("AMPERE_48", ("A6000", "A40"), 48, 46068, AMPERE_RTX, 0.00034),
    Pool("ADA_48_PRO", ("L40", "L40S", "6000 Ada"), 48, 46068, ADA, 0.00053),
    Pool("AMPERE_80", ("A100",), 80, 81920, AMPERE, 0.00076),
    Pool("ADA_80_PRO", ("H100",), 80, 81559, HOPPER, 0.00116),
    Pool(
        "BLACKWELL_96",
        ("RTX PRO 6000",),
        96,
        RTX_PRO_6000_MIB,
        BLACKWELL_RTX,
        0.00111,
        hub=False,
    ),
    Pool("HOPPER_141", ("H200",), 141, 143771, HOPPER, 0.00155),
    Pool("BLACKWELL_180", ("B200",), 180, 183359, BLACKWELL, 0.00240, hub=False),
)
"""All pools, by memory and then by generation."""

SLICES = (
    Pool(
        "PRO 6000 MIG 24GB",
        ("RTX PRO 6000 MIG 1g.24gb",),
        24,
        RTX_PRO_6000_MIB // 4,
        BLACKWELL_RTX,
        hub=False,
    ),
    Pool(
        "PRO 6000 MIG 48GB",
        ("RTX PRO 6000 MIG 2g.48gb",),
        48,
        RTX_PRO_6000_MIB // 2,
        BLACKWELL_RTX,
        hub=False,
    ),
)
"""Parts of one GPU with memory of their own; several cannot serve one model together."""

GPU_COUNTS = (1, 2, 4, 8)
"""Numbers of GPUs per worker that work as tensor parallel size for every model here."""


def find_pool(name: str) -> Pool | None:
    """Return the pool of a GPU, by the pool's id or the GPU's name in any spelling."""
    wanted = _plain(name)
    for pool in POOLS:
        if wanted in (_plain(pool.name), *map(_plain, pool.gpus)):
            return pool
    return None


def find_gpu(name: str) -> Pool | None:
    """Return the pool or the slice that a GPU's name stands for, in any spelling."""
    wanted = _plain(name)
    slices = (item for item in SLICES if wanted in map(_plain, (item.name, *item.gpus)))
    return find_pool(name) or next(slices, None)


def find_device_pool(device: str) -> Pool | None:
    """Return the pool of a GPU by the driver's name, e.g. `NVIDIA H100 80GB HBM3`."""
    words = set(re.findall(r"[a-z0-9]+", device.lower()))
    best: tuple[int, Pool] | None = None
    for pool in POOLS:
        for gpu in pool.gpus:
            wanted = set(gpu.lower().split())
            if wanted <= words and (best is None or len(wanted) > best[0]):
                best = len(wanted), pool
    return None if best is None else best[1]


def known_gpus() -> list[str]:
    """Return every name that `find_pool` accepts."""
    return [*get_args(PoolName), *(gpu for pool in POOLS for gpu in pool.gpus)]


def _plain(name: str) -> str:
    """Return a GPU's name in a normal form: `NVIDIA RTX A4000` -> `a4000`."""
    text = name.lower().replace("nvidia", "").replace("geforce", "")
    text = "".join(character for character in text if character.isalnum())
    return text.removeprefix("rtx") if text.removeprefix("rtx")[:1] in "a345" else text
