"""Lines that a process prints, which arrive after what it answers over another connection."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

TIMEOUT_S = 30


async def wait_for_line(output: Sequence[str], *texts: str) -> str:
    """Return the first line that contains all `texts`; wait until it is printed.

    Args:
        output: The lines so far; another task adds to it.
        texts: What the line contains.

    Raises:
        TimeoutError: No such line was printed.
    """
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            for line in output:
                if all(text in line for text in texts):
                    return line
            await asyncio.sleep(0.02)
