"""Each case runs in a new process, because the collector belongs to the whole process."""

from __future__ import annotations

import subprocess
import sys

PROBE = """
import gc
import resource
from worker.gc_tuning import freeze_gc

passes = []
gc.callbacks.append(lambda phase, info: passes.append(phase) if phase == "start" else None)

class Node:
    def __init__(self):
        self.itself = self

kept = [[] for _ in range(60_000)]
if {frozen}:
    freeze_gc()
tracked = len(gc.get_objects())
passes.clear()
requests = [[[] for _ in range(100)] for _ in range(300)]
during = len(passes)
del requests
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range({garbage}):
    Node()
grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(tracked, during, len(passes) - during, grown_kib)
"""


def probe(*, frozen: bool, garbage: int = 0) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(frozen=frozen, garbage=garbage)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(word) for word in done.stdout.split()]


def test_freeze_gc_avoids_collections_for_short_lived_objects():
    tracked, during, *_ = probe(frozen=True)
    usual_tracked, usual_during, *_ = probe(frozen=False)

    assert (tracked < 1_000, during) == (True, 0)
    assert usual_tracked > 60_000
    assert usual_during > 10


def test_freeze_gc_still_collects_cycles():
    _, _, collections, grown_kib = probe(frozen=True, garbage=1_000_000)

    assert collections >= 19
    assert grown_kib < 30_000
