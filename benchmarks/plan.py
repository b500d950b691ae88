"""Which bursts are measured, and in which order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from benchmarks.load import Burst, Shape

SHAPES: tuple[Shape, ...] = ("chat", "completion")


def plan_bursts(
    concurrencies: Sequence[int],
    rtts_ms: Sequence[float],
    tokens: int,
    *,
    base_rtt_ms: float,
    cross: bool,
) -> list[Burst]:
    """Return every burst once, the most telling first.

    Args:
        concurrencies: Requests at once.
        rtts_ms: Round trips to the platform.
        tokens: Tokens of each request.
        base_rtt_ms: The round trip at which everything is measured.
        cross: Whether everything is measured at the other round trips too; otherwise only
            streamed chats are.
    """
    bursts = [
        Burst(concurrency, tokens, rtt_ms, stream, shape)
        for stream, shape, rtt_ms, concurrency in itertools.product(
            (True, False), SHAPES, rtts_ms, concurrencies
        )
        if cross or rtt_ms == base_rtt_ms or (stream and shape == "chat")
    ]
    return sorted(bursts, key=lambda b: (b.rtt_ms != base_rtt_ms, not b.stream, b.shape != "chat"))


def without_transport(burst: Burst) -> Burst:
    """Return the burst as the engine alone sees it: one for all round trips and routes."""
    return Burst(burst.concurrency, burst.tokens, 0, burst.stream, "chat")
