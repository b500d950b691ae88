"""Background tasks during the start of vLLM; nothing waits for them."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from worker.engine.caches import CacheMirror
from worker.engine.prefetch import (
    MEMORY_SHARE,
    UNREAD_FORMATS,
    Prefetch,
    find_weights,
    free_memory,
)
from worker.engine.readahead import read_list, request_files, wait_for_files
from worker.engine.startup_timing import StartupTimings
from worker.settings import Settings

LOCAL_CACHE = Path(tempfile.gettempdir(), "worker-cache")
"""Folder of vLLM's caches of compiled code, if a persistent copy is configured."""

PACKAGES_WAIT_S = 10.0
"""How long the weights wait for the packages; a disk that is slower reads both in turns."""

log = logging.getLogger(__name__)


class StartupTasks:
    """Fetches caches and weights while vLLM is imported; keeps new caches once it answers.

    Args:
        mirror: Persistent copy of the caches; None without one.
        prefetch: Reader of the weights; None if there are none to read ahead.
        timings: Records the duration of each task.
        packages: Files that the import of vLLM needs.
    """

    def __init__(
        self,
        mirror: CacheMirror | None,
        prefetch: Prefetch | None,
        timings: StartupTimings,
        packages: Sequence[str] = (),
    ) -> None:
        self._packages = packages
        self._stopped = threading.Event()
        self._mirror = mirror
        self._prefetch = prefetch
        self._timings = timings
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start reading in threads."""
        if self._mirror is not None:
            # First, because the caches are small and vLLM needs them before the weights.
            self._run("caches from the volume", "files", self._mirror.fetch)
        packages = None
        if self._packages:
            packages = self._run("packages into memory", "files", self._read_packages)
        if self._prefetch is not None:
            # After the files of the import: weights are needed last and take the longest.
            self._run("weights into memory", "bytes", self._prefetch.run, after=packages)

    def store_caches(self) -> None:
        """Copy new caches back in the background."""
        if self._mirror is not None:
            self._run("caches to the volume", "files", self._mirror.store)

    async def finish(self, timeout_s: float) -> None:
        """Copy back what was compiled after the first request, e.g. for other shapes.

        Args:
            timeout_s: Time limit; the next start compiles again what was not copied by then.
        """
        if self._mirror is None:
            return
        deadline = time.monotonic() + timeout_s
        if self._tasks:
            # Two concurrent copies would write the same temporary files.
            _done, running = await asyncio.wait(self._tasks, timeout=timeout_s)
            if running:
                return
        self._run("caches to the volume, at the end", "files", self._mirror.store)
        await asyncio.wait(self._tasks, timeout=max(0.0, deadline - time.monotonic()))

    async def stop(self) -> None:
        """Stop the tasks that still run."""
        self._stopped.set()
        for part in (self._mirror, self._prefetch):
            if part is not None:
                part.stop()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _read_packages(self) -> int:
        count = request_files(self._packages)
        wait_for_files(self._packages, self._stopped)
        return count

    def _run(
        self,
        title: str,
        unit: str,
        work: Callable[[], int],
        after: asyncio.Task[None] | None = None,
    ) -> asyncio.Task[None]:
        async def run() -> None:
            if after is not None:
                await asyncio.wait({after}, timeout=PACKAGES_WAIT_S)
            began = time.monotonic()
            count = await asyncio.to_thread(work)
            self._timings.record_background(title, began, **{unit: count})
            log.info("%s: %d %s in %.1f s", title, count, unit, time.monotonic() - began)

        task = asyncio.create_task(run())
        self._tasks.append(task)
        return task


def plan_startup_tasks(
    settings: Settings, environment: Mapping[str, str], timings: StartupTimings
) -> StartupTasks:
    """Return the background tasks for these settings.

    Args:
        settings: The resolved configuration.
        environment: The engine's environment, which locates the model cache.
        timings: Records the duration of each task.
    """
    mirror = None if settings.cache is None else CacheMirror(settings.cache, LOCAL_CACHE)
    values = settings.values
    files: list[Path] = []
    if settings.startup.prefetch_weights and values.get("load_format") not in UNREAD_FORMATS:
        files = find_weights(settings.model.name, values.get("revision"), environment)
    prefetch = Prefetch(files, int(free_memory() * MEMORY_SHARE)) if files else None
    return StartupTasks(mirror, prefetch, timings, read_list())
