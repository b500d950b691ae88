"""The folder of one engine's sockets and temporary files, and what killed workers have left."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "worker-engine-"

LONGEST_SOCKET_PATH = 107
"""Bytes that Linux takes as the path of a Unix socket (unix(7))."""

LONGEST_NAME = len("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
"""vLLM names its sockets by UUIDs."""

LONGEST_PARENT = LONGEST_SOCKET_PATH - len(f"/{PREFIX}12345678/") - LONGEST_NAME

FALLBACK = Path("/tmp")  # noqa: S108  the folder in it is made by mkdtemp
"""Where the folder is if the path of the temporary one is too long for a socket."""


class RunFolder:
    """A folder for sockets and temporary files, which nobody else can read.

    As long as this process lives, it holds a lock on the folder. The kernel releases it however the
    process ends, which tells the next worker that the folder is abandoned. A process id could not:
    in a container each first process has the same.

    Attributes:
        path: The folder; short enough for the sockets in it.
    """

    def __init__(self) -> None:
        parent = choose_parent()
        remove_abandoned(parent)
        self.path, self._lock = _make(parent)

    def variables(self) -> dict[str, str]:
        """Return the variables by which vLLM puts its sockets and temporary files here.

        PyTorch keeps compiled code beside it, for the next start.
        """
        parent = tempfile.gettempdir()
        found = {"VLLM_RPC_BASE_PATH": str(self.path)}
        if self.path.parent == Path(parent):
            cache = Path(parent, f"torchinductor_{os.getuid()}")
            found |= {"TMPDIR": str(self.path), "TORCHINDUCTOR_CACHE_DIR": str(cache)}
        return found

    def remove(self) -> None:
        """Remove the folder with all that is in it; safe to call twice."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def choose_parent() -> Path:
    """Return the temporary folder, or `FALLBACK` where its path is too long."""
    parent = Path(tempfile.gettempdir())
    return parent if len(os.fsencode(parent)) <= LONGEST_PARENT else FALLBACK


def remove_abandoned(parent: Path) -> None:
    """Remove the folders of workers that were killed; those of other users and live ones stay."""
    for path in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = _open(path)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)


def _make(parent: Path) -> tuple[Path, int | None]:
    """Return a new folder and the descriptor that holds its lock."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        # Another worker that starts in this moment may take it for abandoned, until it is locked.
        with contextlib.suppress(FileNotFoundError):
            lock = _open(path)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError:
                os.close(lock)
                return path, None  # A file system without locks: nobody removes the folder then.
            if _is_at(lock, path):
                return path, lock
            os.close(lock)


def _is_at(descriptor: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    return False


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
