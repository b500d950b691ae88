"""Read what the import of vLLM needs from the disk before it is needed.

With an empty page cache, an import reads thousands of modules and some GB of libraries page by
page, in the order of the code. `scripts/image.py readahead` lists them when an image is built; the
worker then asks the kernel for all of them at once, and lets the weights wait for them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from worker.engine.forked import run_in_fork

LIST = Path(__file__).with_name("readahead.txt")
"""One path per line, in the order of the import. Missing where no image was built."""

READERS = 8
"""Files requested in parallel."""

STEP_BYTES = 128 * 1024
"""Bytes per request. Linux caps one request at its read-ahead; this is the default."""

POLL_S = 0.02

READS = frozenset({"open", "os.listdir", "os.scandir"})
"""Python's audit events of what reads a disk."""

MAPS = Path("/proc/self/maps")


def list_loaded_files(maps: Path = MAPS) -> list[str]:
    """Return the files that this process has imported or mapped, shared libraries first.

    Args:
        maps: Linux's list of mapped memory.
    """
    mapped = (line.split(maxsplit=5)[5:] for line in maps.read_text().splitlines())
    libraries = [path[0] for path in mapped if path and ".so" in path[0]]
    # Not by attribute, which makes a lazy module import what it has.
    contents = [getattr(module, "__dict__", {}) for module in list(sys.modules.values())]
    modules = [each.get("__cached__") or each.get("__file__") for each in contents]
    found = dict.fromkeys(str(path) for path in (*libraries, *modules) if path)
    return [path for path in found if os.path.isfile(path)]


def note_reads() -> dict[str, None]:
    """Return a collection that grows with each file that this process opens and folder it lists."""
    noted: dict[str, None] = {}

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        # Modules read their source, libraries the metadata of packages.
        if event in READS and isinstance(arguments[0], str | bytes | os.PathLike):
            noted[os.path.abspath(os.fsdecode(arguments[0]))] = None

    sys.addaudithook(note)
    return noted


def record(target: Path = LIST) -> int:
    """Import vLLM as a start does, write the list and return its length.

    Args:
        target: The list.
    """
    from worker.engine import vllm_import

    # In another process, because a start reads the list of transformers' names instead.
    run_in_fork(vllm_import.record_structure)
    noted = note_reads()
    vllm_import.import_configuration()
    vllm_import.import_engine()
    vllm_import.import_all(("vllm.entrypoints.cli.serve", *vllm_import.SERVER_MODULES))
    roots = tuple(root for root in sys.path if root)
    read = [path for path in list(noted) if path.startswith(roots) and os.path.exists(path)]
    files = list(dict.fromkeys([*list_loaded_files(), *read]))
    target.write_text("".join(f"{path}\n" for path in files), encoding="utf-8")
    return len(files)


def read_list(source: Path = LIST) -> list[str]:
    """Return the listed files; none without a list."""
    try:
        return source.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def request_files(files: Iterable[str]) -> int:
    """Ask the kernel to read files and folders into its caches; return their number.

    A file that is there already costs three system calls.
    """
    with ThreadPoolExecutor(READERS, thread_name_prefix="readahead") as pool:
        return sum(pool.map(_request, files))


def _request(path: str) -> bool:
    with contextlib.suppress(OSError):
        if os.path.isdir(path):
            os.listdir(path)
            return True
        descriptor = os.open(path, os.O_RDONLY)
        try:
            for start in range(0, os.fstat(descriptor).st_size, STEP_BYTES):
                os.posix_fadvise(descriptor, start, STEP_BYTES, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)
        if path.endswith(".pyc"):
            # Python compares the time of the source, which the disk keeps elsewhere.
            os.stat(importlib.util.source_from_cache(path))
        return True
    return False


def wait_for_files(files: Iterable[str], stopped: threading.Event) -> None:
    """Wait until the kernel has read requested files to their ends.

    Args:
        files: In the order of the requests.
        stopped: Ends the wait.
    """
    for path in files:
        while not stopped.is_set() and not is_read(path):
            stopped.wait(POLL_S)


def is_read(path: str) -> bool:
    """Return whether the last byte of a file is in memory; True if unknown."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            last = max(0, os.fstat(descriptor).st_size - 1)
            os.preadv(descriptor, [bytearray(1)], last, os.RWF_NOWAIT)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
    return True


if __name__ == "__main__":
    print(f"{LIST}: {record()} files")
