"""In processes of their own: the collector is the whole process's."""

from __future__ import annotations

import subprocess
import sys

PROBE = """
import gc
import resource
from worker.heap import settle

passes = []
gc.callbacks.append(lambda phase, info: passes.append(phase) if phase == "start" else None)

class Node:
    def __init__(self):
        self.itself = self

kept = [[] for _ in range(60_000)]
if {settled}:
    settle()
looked_at = len(gc.get_objects())
passes.clear()
requests = [[[] for _ in range(100)] for _ in range(300)]
during = len(passes)
del requests
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range({garbage}):
    Node()
grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(looked_at, during, len(passes) - during, grown_kib)
"""


def probe(*, settled: bool, garbage: int = 0) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(settled=settled, garbage=garbage)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(word) for word in done.stdout.split()]


def test_a_settled_process_does_not_collect_for_requests_that_end():
    looked_at, during, *_ = probe(settled=True)
    usual_looked_at, usual_during, *_ = probe(settled=False)

    assert (looked_at < 1_000, during) == (True, 0)
    assert usual_looked_at > 60_000
    assert usual_during > 10


def test_cycles_are_still_collected():
    _, _, collections, grown_kib = probe(settled=True, garbage=1_000_000)

    assert collections >= 19
    assert grown_kib < 30_000
