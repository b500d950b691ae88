"""Python's garbage collector, told what a process is that serves for long."""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 50_000
"""So many containers more than there were begin a collection of the young; Python's own 700 are
reached by a few requests. What waits in cycles meanwhile is some 10 MB at most."""


def settle() -> None:
    """Let collections leave alone what is there now, and come seldom.

    To be called once a process is about to serve. Python looks through everything again and again
    as requests come and go: modules, settings and schemas, 100,000 objects in the worker, which
    stay for ever. With 300 streams that was a third of the worker's CPU time, and pauses of more
    than 0.1 s for all of them.
    """
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
