"""The production worker, which a signal makes profile itself and another makes write it down.

Run as `python -m benchmarks.profiled_worker FILE`. Before SIGUSR1 it costs nothing; at SIGUSR2 what
was found is in FILE, for `pstats`.
"""

from __future__ import annotations

import cProfile
import os
import signal
import sys
import time
from pathlib import Path

from worker.start import run_worker


def main() -> None:
    """Serve like `worker start`."""
    path = Path(sys.argv[1])
    # CPU time: on a machine whose cores are shared, the clock would count the others' work too.
    profile = cProfile.Profile(time.thread_time)

    def write(*_: object) -> None:
        profile.disable()
        unfinished = path.with_suffix(".part")
        profile.dump_stats(unfinished)
        unfinished.replace(path)

    signal.signal(signal.SIGUSR1, lambda *_: profile.enable())
    signal.signal(signal.SIGUSR2, write)
    sys.exit(run_worker(os.environ))


main()
