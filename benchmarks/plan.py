"""The bursts to measure, and their order."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from benchmarks.load import Burst, Shape

SHAPES: tuple[Shape, ...] = ("chat", "completion")

PER_TOKEN_REQUESTS = 128
"""Requests without streaming, at two lengths, from which the CPU per token is computed."""

SHORTER = 8
"""Length of the shorter answers, as a divisor."""


def plan_bursts(
    concurrencies: Sequence[int],
    rtts_ms: Sequence[float],
    tokens: int,
    *,
    base_rtt_ms: float,
    cross: bool,
) -> list[Burst]:
    """Return every burst once, the most important first.

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
    if PER_TOKEN_REQUESTS in concurrencies and tokens >= 2 * SHORTER:
        bursts.append(shorter(Burst(PER_TOKEN_REQUESTS, tokens, base_rtt_ms, stream=False)))
    return sorted(bursts, key=lambda b: (b.rtt_ms != base_rtt_ms, not b.stream, b.shape != "chat"))


def shorter(burst: Burst) -> Burst:
    """Return the same burst with shorter answers, to compute the cost per token."""
    return dataclasses.replace(burst, tokens=burst.tokens // SHORTER)


def without_transport(burst: Burst) -> Burst:
    """Return the burst for the engine alone, which has no round trips and routes."""
    return Burst(burst.concurrency, burst.tokens, 0, burst.stream, "chat")
