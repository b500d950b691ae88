"""The production worker, which also prints each second how long its event loop stood still."""

import asyncio
import os
import sys
import time
from pathlib import Path

from worker import start

TICK_S = 0.01


async def watch() -> None:
    """Print `watched STALL_MS BUSY_MS RSS_KIB` each second.

    STALL_MS is the longest time by which a timer was late: it includes what this machine's other
    processes took. BUSY_MS is the longest time that this thread computed without a check of its
    timers: that is what the worker itself does to a reader who waits.
    """
    page_kib = os.sysconf("SC_PAGE_SIZE") // 1024
    while True:
        stall_s = busy_s = 0.0
        until = time.monotonic() + 1
        while (before := time.monotonic()) < until:
            computed = time.thread_time()
            await asyncio.sleep(TICK_S)
            stall_s = max(stall_s, time.monotonic() - before - TICK_S)
            busy_s = max(busy_s, time.thread_time() - computed)
        rss_kib = int(Path("/proc/self/statm").read_text().split()[1]) * page_kib
        print(f"watched {stall_s * 1000:.0f} {busy_s * 1000:.0f} {rss_kib}", flush=True)


class WatchedWorker(start.Worker):
    async def run(self) -> int:
        watching = asyncio.create_task(watch())
        try:
            return await super().run()
        finally:
            watching.cancel()


start.Worker = WatchedWorker  # type: ignore[misc]
sys.exit(start.run_worker(os.environ))
