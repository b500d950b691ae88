"""Parameters that decide in how many chunks a stream travels.

For a worker whose chunks wait until they are full: with STREAM_MAX_DELAY_MS as it is in
production, a busy machine would cut them by time.
"""

from __future__ import annotations

from tests.e2e.support.parameters import Asker, effect

TOKENS = 80
LARGE = 20


@effect("max_batch_size", "min_batch_size", "batch_size_growth_factor")
async def batches_decide_the_chunks(ask: Asker) -> None:
    full = TOKENS // LARGE + 1
    assert await chunks(ask, LARGE, LARGE, 3.0) <= full
    assert await chunks(ask, 1, LARGE, float(LARGE)) <= full + 1
    # What arrives while a chunk is posted travels with the next, so a busy machine makes fewer.
    for largest, factor in ((1, 3.0), (LARGE, 1.01)):
        counts = [await chunks(ask, 1, largest, factor)]
        while max(counts) <= full + 1 and len(counts) < 10:
            counts.append(await chunks(ask, 1, largest, factor))
        assert max(counts) > full + 1


async def chunks(ask: Asker, smallest: int, largest: int, factor: float) -> int:
    """Return in how many chunks a stream of `TOKENS` tokens comes."""
    outputs = await ask.stream(
        max_tokens=TOKENS,
        ignore_eos=True,
        stream_interval=1,
        min_batch_size=smallest,
        max_batch_size=largest,
        batch_size_growth_factor=factor,
    )
    return len(outputs)
