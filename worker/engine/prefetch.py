"""Read weights into the page cache during the import of vLLM, when the disk is idle."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

BLOCK_BYTES = 16 * 1024 * 1024
READERS = 4
"""Files read in parallel; a network volume is faster with several."""

MEMORY_SHARE = 0.5
"""Share of the free memory; reading more would evict what was just read."""

UNREAD_FORMATS = frozenset({"dummy", "runai_streamer", "runai_streamer_sharded", "tensorizer"})
"""Load formats that read no files, or have their own fast reader."""


def find_weights(model: str, revision: str | None, environ: Mapping[str, str]) -> list[Path]:
    """Return the weight files of a local or cached model, in order.

    Args:
        model: A folder, or a repository id that is looked up in Hugging Face's cache.
        revision: Branch, tag or commit; None is `main`.
        environ: The engine's environment, which locates the cache.
    """
    folder = Path(model)
    if not folder.is_dir():
        home = environ.get("HF_HOME") or str(Path.home() / ".cache" / "huggingface")
        cache = Path(environ.get("HF_HUB_CACHE") or f"{home}/hub")
        repository = cache / f"models--{model.replace('/', '--')}"
        try:
            commit = (repository / "refs" / (revision or "main")).read_text().strip()
        except OSError:
            commit = revision or ""
        folder = repository / "snapshots" / commit
    return sorted(folder.glob("*.safetensors")) if folder.is_dir() else []


def free_memory() -> int:
    """Return the memory that is available without eviction, bytes."""
    return int(psutil.virtual_memory().available)


class Prefetch:
    """Reads files in the background to fill the page cache; their content is discarded.

    Args:
        files: In the order in which vLLM reads them.
        limit_bytes: Stop after this many bytes.
    """

    def __init__(self, files: Sequence[Path], limit_bytes: int) -> None:
        self._files = list(files)
        self._left = limit_bytes
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def run(self) -> int:
        """Read the files; return the number of bytes read."""
        with ThreadPoolExecutor(READERS, thread_name_prefix="prefetch") as pool:
            return sum(pool.map(self._read, self._files))

    def stop(self) -> None:
        """Stop after the current block."""
        self._stopped.set()

    def _read(self, path: Path) -> int:
        read = 0
        try:
            with path.open("rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
                block = bytearray(BLOCK_BYTES)
                while not self._stopped.is_set() and self._reserve_block():
                    count = file.readinto(block)
                    if not count:
                        break
                    read += count
        except OSError:
            # vLLM reads the same file soon and reports the error.
            return read
        return read

    def _reserve_block(self) -> bool:
        with self._lock:
            self._left -= BLOCK_BYTES
            return self._left + BLOCK_BYTES > 0
