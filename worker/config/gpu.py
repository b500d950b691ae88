"""Asks NVIDIA's driver what GPUs there are, without torch: its library, by ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
NAME_LENGTH = 96


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU.

    Attributes:
        name: As the driver calls it, e.g. `NVIDIA H100 80GB HBM3`.
        memory_bytes: All of its memory, bytes.
    """

    name: str
    memory_bytes: int


class _Memory(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


def list_gpus(library: str = LIBRARY) -> tuple[Gpu, ...]:
    """Return the machine's GPUs in the driver's order; none where the driver cannot say.

    Source:
        NVML, https://docs.nvidia.com/deploy/nvml-api.
    """
    try:
        nvml = ctypes.CDLL(library)
    except OSError:
        return ()
    with _initialised(nvml) as ready:
        if not ready:
            return ()
        count = ctypes.c_uint()
        if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return ()
        found = [_describe(nvml, index) for index in range(count.value)]
    return tuple(gpu for gpu in found if gpu is not None)


@contextmanager
def _initialised(nvml: Any) -> Iterator[bool]:
    ready = nvml.nvmlInit_v2() == 0
    try:
        yield ready
    finally:
        if ready:
            nvml.nvmlShutdown()


def _describe(nvml: Any, index: int) -> Gpu | None:
    device = ctypes.c_void_p()
    memory = _Memory()
    name = ctypes.create_string_buffer(NAME_LENGTH)
    if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(device)) != 0:
        return None
    if nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) != 0:
        return None
    nvml.nvmlDeviceGetName(device, name, ctypes.c_uint(NAME_LENGTH))
    return Gpu(name.value.decode("utf-8", "replace"), int(memory.total))
