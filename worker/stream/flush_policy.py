"""How often a stream is posted to RunPod, and how many tokens vLLM puts into one event.

Every post costs CPU here (about half a millisecond through the SDK's sender) and at the platform,
and every event costs CPU in vLLM. One stream can post each token at once. With three hundred
streams that would leave no CPU to generate tokens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

POSTS_PER_SECOND = 400
"""Limit for all streams of one worker together; takes at most a fifth of one core."""

AVERAGE_S = 3.0
"""Time over which the number of streams is averaged. Requests come unevenly; with the number of the
moment, one chunk in a hundred came half as late again as the others."""

PEAK = 2.0
"""A number that differs from the average by more than this factor is a burst or the end of one, and
counts at once."""

MAX_FLUSH_INTERVAL_S = 0.5
"""Maximum interval between two posts of one stream that the load alone can cause."""

MAX_STREAM_INTERVAL = 8
"""Maximum tokens per event, for a fast model under high load. The number is chosen before the
stream begins, and a burst of long prompts makes a step 10 times slower: with 32 tokens, readers of
300 streams of an 8B model waited 3.1 s for an event."""

EVENT_MARGIN_S = 0.025
"""Time between the last event of a post and the post. A step that also processes another request's
prompt delays an event by about this much, and an event that misses its post waits for the next."""

TYPICAL_TOKEN_S = 0.02
"""Time per token of one stream, assumed until the first measurement."""

MIN_TOKEN_S = 1e-4
"""Lower bound of a measured token time; two chunks can be posted at the same moment."""

EWMA_ALPHA = 0.05
"""Weight of the newest token time in its exponentially weighted moving average."""


class StreamLoad:
    """The load that all streams of one worker share.

    Args:
        max_delay_s: Maximum time that a batch waits to fill, from post to post.
        clock: Time in seconds.
    """

    def __init__(self, max_delay_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_delay_s = max_delay_s
        self._clock = clock
        self._average = 0.0
        self._averaged_at = clock()
        self.active = 0
        """Number of open streams."""
        self.token_s = TYPICAL_TOKEN_S
        """Moving average of the seconds per token of one stream."""

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Count one stream while the context is open."""
        self._follow()
        self.active += 1
        try:
            yield
        finally:
            self._follow()
            self.active -= 1

    def stream_interval(self) -> int:
        """Return vLLM's `stream_interval` for a stream that starts now, in tokens.

        The number of tokens that arrive between two posts, with a margin. Events that would be
        posted together become one, and no token is delayed beyond its post.
        """
        tokens = int((self.flush_interval_s() - EVENT_MARGIN_S) / self.token_s)
        return max(1, min(tokens, MAX_STREAM_INTERVAL))

    def record_token_time(self, seconds: float, tokens: int) -> None:
        """Add a measurement to the average time per token."""
        token_s = max(seconds / tokens, MIN_TOKEN_S)
        self.token_s += EWMA_ALPHA * (token_s - self.token_s)

    def flush_interval_s(self) -> float:
        """Return the shortest interval between two posts of one stream at the current load."""
        self._follow()
        steady = self.active / PEAK <= self._average <= self.active * PEAK
        streams = self._average if steady else self.active
        return min(MAX_FLUSH_INTERVAL_S, streams / POSTS_PER_SECOND)

    def _follow(self) -> None:
        """Bring the average up to date, before the number of streams changes."""
        now = self._clock()
        share = 1 - math.exp((self._averaged_at - now) / AVERAGE_S)
        self._average += (self.active - self._average) * share
        self._averaged_at = now


class GrowingBatch:
    """Tokens per post: starts at `min_size`, grows by `growth_factor`, up to `max_size`.

    As in worker-vllm, a growth factor of 1 or less, or a minimum above the maximum, means
    `max_size` from the start.
    """

    def __init__(self, min_size: int, max_size: int, growth_factor: float) -> None:
        self._max_size = max_size
        grows = growth_factor > 1 and min_size < max_size
        self._growth_factor = growth_factor if grows else 1.0
        self.size: float = min_size if grows else max_size
        """Tokens that make the next post due."""

    def grow(self) -> None:
        """Grow after a post."""
        self.size = min(self.size * self._growth_factor, self._max_size)


class FlushDelay(NamedTuple):
    """How long the next post is delayed, and whether new data may end the delay.

    Attributes:
        seconds: Remaining delay; 0 or less means that the post is due.
        wake_on_data: Whether arriving tokens may make the post due earlier.
    """

    seconds: float
    wake_on_data: bool


class FlushTimer:
    """Computes when the next post of one stream is due.

    Args:
        stream_load: The load of the worker.
        batch: The batch sizes of the stream.
        tokens_per_event: The `stream_interval` of the stream.
    """

    def __init__(
        self, stream_load: StreamLoad, batch: GrowingBatch, tokens_per_event: int = 1
    ) -> None:
        self._stream_load = stream_load
        self._batch = batch
        self._tokens_per_event = tokens_per_event
        self._posted_at: float | None = None
        self._measured_at: float | None = None
        self._waiting_since: float | None = None

    def delay(self, now: float, events: int) -> FlushDelay:
        """Return the delay of `events` buffered events, at the loop's time `now` in seconds."""
        if self._waiting_since is None:
            self._waiting_since = now
        if self._posted_at is not None:
            load_delay_s = self._posted_at + self._stream_load.flush_interval_s() - now
            if load_delay_s > 0:
                return FlushDelay(load_delay_s, wake_on_data=False)
        if events * self._tokens_per_event >= self._batch.size:
            return FlushDelay(0.0, wake_on_data=False)
        # Measured from the last post: a reader notices the time between two chunks, which
        # includes the time of the post, not the wait of each token.
        since = self._waiting_since if self._posted_at is None else self._posted_at
        return FlushDelay(since + self._stream_load.max_delay_s - now, wake_on_data=True)

    def posted(self, now: float, events: int) -> None:
        """Record that the buffered events were handed over for posting.

        Args:
            now: The loop's time, seconds.
            events: Events that arrived since the last measurement; 0 for events counted before,
                and at the end of a stream, where some events hold no token.
        """
        if events:
            if self._measured_at is not None:
                tokens = events * self._tokens_per_event
                self._stream_load.record_token_time(now - self._measured_at, tokens)
            self._measured_at = now
        self._posted_at = now
        self._waiting_since = None
        self._batch.grow()
