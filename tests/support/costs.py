"""Costs of two sizes of an input, in CPU time and memory: do they grow in proportion?"""

from __future__ import annotations

import gc
import math
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

SCALE = 8
"""How many times larger the large input is."""

GROWTH = 3.0
"""Limit for the cost of a large input by that of `SCALE` small ones: 1 is proportional, 8 is
quadratic. Other programs and caches change a cost too, but not as much."""

SHORT_S = 0.002
"""Shorter times are compared as this one."""

SMALL_BYTES = 1_250
"""Smaller peaks are compared as this one."""

Run = Callable[[], Any]


def cpu_s(run: Run) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def is_proportional(small: Run, large: Run) -> bool:
    """Return whether `large` takes less than `GROWTH` times as long as `SCALE` runs of `small`."""

    def many_small() -> None:
        for _ in range(SCALE):
            small()

    small_s = large_s = math.inf
    gc.disable()
    try:
        for _ in range(6):  # Other programs can make runs slow, for seconds.
            small_s, large_s = min(small_s, cpu_s(many_small)), min(large_s, cpu_s(large))
            if large_s < GROWTH * max(small_s, SHORT_S):
                return True
    finally:
        gc.enable()
    return False


def peak_bytes(run: Run) -> int:
    gc.collect()  # It also empties the lists of freed tuples, which would cost nothing.
    tracemalloc.start()
    run()
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def assert_proportional(prepare: Callable[[int], Run], size: int) -> None:
    """Check that time and memory grow with the input, and not with its square.

    Args:
        prepare: Returns what is measured, with an input of the given size.
        size: Parameters, characters, events of the large input: enough for some milliseconds.
    """
    small, large = prepare(size // SCALE), prepare(size)
    assert is_proportional(small, large)
    assert peak_bytes(large) < GROWTH * SCALE * max(peak_bytes(small), SMALL_BYTES)
