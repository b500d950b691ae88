"""Copy caches of compiled code from the volume at start, and new files back.

vLLM and its libraries write many small files and lock some of them. A network volume is slow with
small files and unreliable with locks, and several workers may start at the same time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

SKIPPED = frozenset({"assets", "__pycache__"})
"""Folders without compiled code."""

TEMPORARY = ".part"
"""Suffix of incomplete files; locks end in `.lock`."""

MAX_FILE_BYTES = 8 * 1024**3
"""A larger cache is not copied, because it must contain something else."""


class CacheMirror:
    """A folder on a volume and its copy on the local disk.

    Args:
        kept: The persistent folder.
        local: The folder that vLLM uses.
    """

    def __init__(self, kept: Path, local: Path) -> None:
        self._kept = kept
        self._local = local
        self._stopped = threading.Event()

    def fetch(self) -> int:
        """Copy the files that the local folder lacks; return their number.

        An unreadable cache does not stop the start; it only takes longer.
        """
        return self._copy(self._kept, self._local)

    def store(self) -> int:
        """Copy new files back; return their number."""
        return self._copy(self._local, self._kept)

    def stop(self) -> None:
        """Stop a running copy."""
        self._stopped.set()

    def _copy(self, source: Path, target: Path) -> int:
        copied = size = 0
        for path in _files(source):
            if self._stopped.is_set():
                break
            destination = target / path.relative_to(source)
            try:
                length = path.stat().st_size
                if destination.exists():
                    continue
                size += length
                if size > MAX_FILE_BYTES:
                    log.warning("the cache in %s is above %d bytes", source, MAX_FILE_BYTES)
                    break
                _copy_file(path, destination)
                copied += 1
            except OSError as error:
                log.warning("cache file %s not copied: %s", path.name, error.strerror or error)
                if not isinstance(error, FileNotFoundError):
                    break
        return copied


def _copy_file(source: Path, destination: Path) -> None:
    """Copy atomically; another worker never sees a partial file."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    temporary = destination.with_name(f"{destination.name}.{os.getpid()}{TEMPORARY}")
    try:
        shutil.copy2(source, temporary)
        os.replace(temporary, destination)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in SKIPPED]
        for name in names:
            path = Path(root, name)
            if not name.endswith((TEMPORARY, ".lock", ".tmp")) and not path.is_symlink():
                yield path
