"""Objects in reference cycles: they stay in memory until the next full collection, for minutes."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def reference_cycles(kind: type[Any]) -> Iterator[list[Any]]:
    """Yield a list that is empty until the block ends, then holds its objects in cycles.

    Args:
        kind: The only type that counts; others are left to the interpreter.
    """
    found: list[Any] = []
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found.extend(each for each in gc.garbage if isinstance(each, kind))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
