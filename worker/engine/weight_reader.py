"""Read a model's weights into the GPU's memory with several threads.

vLLM maps the files and copies one tensor at a time from memory that the GPU cannot access directly.
Here, each thread reads a chunk of a file into a pinned buffer and copies it while others read.
Only processes that run vLLM import this module.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from safetensors import safe_open

READERS = 8
"""Threads. They read 16 GB that are in the page cache in 0.6 s on an H100."""
CHUNK_BYTES = 16 * 1024**2
"""Bytes that a thread reads and copies at a time; each has a pinned buffer of this size."""
MIN_BYTES = 2 * 1024**2
"""A smaller tensor is copied without the threads, which cost 0.2 ms a tensor: a quantized model
with experts has tens of thousands of small ones."""
MAX_AHEAD_BYTES = 3 * 1024**3
"""Bytes on the GPU that vLLM has not copied into the model yet; more than the largest tensors."""
AHEAD_SHARE = 0.25
"""The same, as a share of the free memory."""
MIN_FREE_BYTES = 4 * 1024**3
"""With less free memory on the GPU, vLLM reads the weights itself."""

HEADER_LENGTH = struct.Struct("<Q")


@dataclass
class _Reading:
    """A tensor that is being read."""

    name: str
    tensor: torch.Tensor
    chunks: list[Future[None]] = field(default_factory=list)


def read_offsets(path: str) -> dict[str, int]:
    """Return where each tensor of a safetensors file begins, bytes from the file's beginning."""
    with open(path, "rb") as file:
        (length,) = HEADER_LENGTH.unpack(file.read(HEADER_LENGTH.size))
        header = json.loads(file.read(length))
    start = HEADER_LENGTH.size + length
    return {
        name: start + tensor["data_offsets"][0]
        for name, tensor in header.items()
        if name != "__metadata__"
    }


def choose_ahead_bytes(free_bytes: int) -> int:
    """Return how much to read ahead on a device with so much free memory, bytes; 0 for too little.

    Args:
        free_bytes: What is free when the parameters of the model have their memory.
    """
    if free_bytes < MIN_FREE_BYTES:
        return 0
    return min(MAX_AHEAD_BYTES, int(free_bytes * AHEAD_SHARE))


class WeightReader:
    """Reads tensors of safetensors files; used once.

    Args:
        device: Where to put them.
        ahead_bytes: How much may be read before the caller takes it. A larger tensor is copied
            alone, and without the threads.
    """

    def __init__(self, device: torch.device, ahead_bytes: int) -> None:
        self._device = device
        self._limit = ahead_bytes
        self._local = threading.local()
        self._readings: deque[_Reading] = deque()
        self._held_bytes = 0

    def read(
        self, paths: Iterable[str], skips: Callable[[str], bool] = lambda _name: False
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the names and tensors of the files, in their order.

        Args:
            paths: The files.
            skips: Whether a tensor is left out, by its name.

        Raises:
            OSError: A file cannot be read.
            SafetensorError: A file is not a valid safetensors file.
        """
        # Files are closed when no thread reads them any more.
        with contextlib.ExitStack() as files, ThreadPoolExecutor(READERS, "weights") as pool:
            try:
                for path in paths:
                    # Checks the header, and knows PyTorch's type for each of the format.
                    mapped = files.enter_context(safe_open(path, framework="pt"))
                    file, offsets = files.enter_context(open(path, "rb")), read_offsets(path)
                    for name in mapped.keys():  # noqa: SIM118  not a mapping
                        if skips(name):
                            continue
                        source = mapped.get_tensor(name)
                        while self._readings and self._held_bytes + source.nbytes > self._limit:
                            yield self._take()
                        reading = _Reading(name, source)
                        if MIN_BYTES <= source.nbytes <= self._limit:
                            self._begin(reading, file.fileno(), offsets[name], pool)
                        self._readings.append(reading)
                while self._readings:
                    yield self._take()
            finally:
                pool.shutdown(cancel_futures=True)

    def _begin(
        self, reading: _Reading, descriptor: int, offset: int, pool: ThreadPoolExecutor
    ) -> None:
        reading.tensor = torch.empty_like(reading.tensor, device=self._device)
        target = reading.tensor.flatten().view(torch.uint8)
        # The memory may be that of a tensor which the device still copies into the model.
        free = torch.cuda.current_stream(self._device).record_event() if target.is_cuda else None
        for start in range(0, target.numel(), CHUNK_BYTES):
            chunk = target[start : start + CHUNK_BYTES]
            reading.chunks.append(pool.submit(self._copy, descriptor, offset + start, chunk, free))
        self._held_bytes += target.numel()

    def _take(self) -> tuple[str, torch.Tensor]:
        reading = self._readings.popleft()
        if not reading.chunks:
            # All tensors on one device: models concatenate some.
            return reading.name, reading.tensor.to(self._device)
        self._held_bytes -= reading.tensor.nbytes
        for chunk in reading.chunks:
            chunk.result()
        return reading.name, reading.tensor

    def _copy(
        self, descriptor: int, offset: int, target: torch.Tensor, free: torch.cuda.Event | None
    ) -> None:
        """Read a part of a file, and copy it to `target` when the device has reached `free`."""
        if free is None:
            read_fully(descriptor, memoryview(target.numpy()), offset)
            return
        if not hasattr(self._local, "buffer"):
            self._local.buffer = torch.empty(
                CHUNK_BYTES, dtype=torch.uint8, device="cpu", pin_memory=True
            )
            self._local.stream = torch.cuda.Stream(self._device)
        buffer, stream = self._local.buffer[: target.numel()], self._local.stream
        read_fully(descriptor, memoryview(buffer.numpy()), offset)
        with torch.cuda.stream(stream):
            stream.wait_event(free)
            target.copy_(buffer, non_blocking=True)
        stream.synchronize()


def read_fully(descriptor: int, buffer: memoryview, offset: int) -> None:
    """Fill `buffer` from a file.

    Raises:
        EOFError: The file ends before.
    """
    done = 0
    while done < len(buffer):
        count = os.preadv(descriptor, [buffer[done:]], offset + done)
        if not count:
            raise EOFError(f"a weight file ends after {offset + done} bytes, in a tensor")
        done += count
