"""The folder of an engine's sockets and temporary files; cleanup after killed workers."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "worker-engine-"

MAX_SOCKET_PATH_BYTES = 107
"""Maximum length of a Unix socket's path on Linux, bytes (unix(7))."""

MAX_NAME_CHARS = len("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
"""vLLM names its sockets by UUIDs."""

MAX_PARENT_CHARS = MAX_SOCKET_PATH_BYTES - len(f"/{PREFIX}12345678/") - MAX_NAME_CHARS

FALLBACK = Path("/tmp")  # noqa: S108  the folder in it is made by mkdtemp
"""Parent of the folder if the path of the temporary folder is too long for a socket."""


class RunFolder:
    """A private folder for sockets and temporary files.

    This process holds a lock on the folder. The kernel releases the lock when the process ends for
    any reason, and the next worker then recognizes the folder as abandoned. A process id would not
    do, because the first process of each container has the same.

    Attributes:
        path: The folder; short enough for the sockets in it.
    """

    def __init__(self) -> None:
        parent = choose_parent()
        remove_abandoned(parent)
        self.path, self._lock = _make(parent)

    @property
    def socket(self) -> Path:
        """The socket of vLLM's server."""
        return self.path / "vllm.sock"

    @property
    def arguments(self) -> list[str]:
        """The last arguments of vLLM's server."""
        return ["--uds", str(self.socket)]

    def variables(self) -> dict[str, str]:
        """Return the variables that make vLLM put its sockets and temporary files here.

        PyTorch keeps compiled code next to the folder, for the next start.
        """
        parent = tempfile.gettempdir()
        found = {"VLLM_RPC_BASE_PATH": str(self.path)}
        if self.path.parent == Path(parent):
            cache = Path(parent, f"torchinductor_{os.getuid()}")
            found |= {"TMPDIR": str(self.path), "TORCHINDUCTOR_CACHE_DIR": str(cache)}
        return found

    def remove(self) -> None:
        """Remove the folder and its content; safe to call twice."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def choose_parent() -> Path:
    """Return the temporary folder, or `FALLBACK` if its path is too long."""
    parent = Path(tempfile.gettempdir())
    return parent if len(os.fsencode(parent)) <= MAX_PARENT_CHARS else FALLBACK


def remove_abandoned(parent: Path) -> None:
    """Remove the folders of killed workers; folders of other users and of live workers stay."""
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
        # Until it is locked, another worker that starts now may treat it as abandoned.
        with contextlib.suppress(FileNotFoundError):
            lock = _open(path)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError:
                os.close(lock)
                return path, None  # A file system without locks: no worker removes the folder then.
            if _is_at(lock, path):
                return path, lock
            os.close(lock)


def _is_at(descriptor: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    return False


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
