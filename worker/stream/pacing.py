"""How often a stream is posted to RunPod, and how finely vLLM cuts it, from the load.

Every post costs CPU here (about half a millisecond through the SDK's sender) and at the platform,
and every event costs CPU in vLLM as well. One reader enjoys each token at once; three hundred at a
time would leave no CPU to make tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

POSTS_PER_SECOND = 400
"""Posts that all streams of one worker share, at most a fifth of one core."""

LONGEST_FLUSH_INTERVAL_S = 0.5
"""Between two posts of one stream, however many streams run."""

COARSEST_STREAM_INTERVAL = 32
"""Tokens of the largest event, where a model is fast and the load is high."""

EVENT_MARGIN_S = 0.025
"""How long before a post is due its last event should be there. A step that also reads another
request's prompt delays an event by about so much; a post that misses one waits for the next."""

TYPICAL_TOKEN_S = 0.02
"""What a stream's token takes until it was measured."""

FASTEST_TOKEN_S = 1e-4
"""A stream's token is never taken to be faster; two pieces can be posted in the same moment."""

LATEST_SHARE = 0.05
"""Weight of the newest measurement in the average time of a token."""


class Pacing:
    """What the streams of one worker have in common.

    Args:
        max_delay_s: The longest time between two posts that a batch has to fill.
    """

    def __init__(self, max_delay_s: float) -> None:
        self.max_delay_s = max_delay_s
        self.active = 0
        """Streams that run now."""
        self.token_s = TYPICAL_TOKEN_S
        """Seconds that a stream's token took lately."""

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Count one stream while the context is open."""
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1

    def stream_interval(self) -> int:
        """Return vLLM's `stream_interval` for a stream that starts now, in tokens.

        Nearly as many as come between two posts: events that would travel together anyway are one,
        and nobody waits longer for a token than for its post.
        """
        tokens = int((self.flush_interval_s() - EVENT_MARGIN_S) / self.token_s)
        return max(1, min(tokens, COARSEST_STREAM_INTERVAL))

    def note_speed(self, seconds: float, tokens: int) -> None:
        """Note how long some tokens of one stream took."""
        token_s = max(seconds / tokens, FASTEST_TOKEN_S)
        self.token_s += LATEST_SHARE * (token_s - self.token_s)

    def flush_interval_s(self) -> float:
        """Return the least seconds between two posts of one stream under the present load."""
        return min(LONGEST_FLUSH_INTERVAL_S, self.active / POSTS_PER_SECOND)


class GrowingBatch:
    """Tokens per post, from `min_size` times `growth_factor` and again up to `max_size`.

    As in the original worker, a growth factor of 1 or less, or a minimum above the maximum, means
    `max_size` from the start.
    """

    def __init__(self, min_size: int, max_size: int, growth_factor: float) -> None:
        self._max_size = max_size
        grows = growth_factor > 1 and min_size < max_size
        self._growth_factor = growth_factor if grows else 1.0
        self.size: float = min_size if grows else max_size
        """Tokens that the next post waits for."""

    def grow(self) -> None:
        """Note that a batch was posted."""
        self.size = min(self.size * self._growth_factor, self._max_size)


class Wait(NamedTuple):
    """How long the next post waits, and what may end the wait.

    Attributes:
        seconds: 0 or less: post now.
        wake_on_data: Whether arriving tokens may make the post due earlier.
    """

    seconds: float
    wake_on_data: bool


class Flush:
    """When the next post of one stream is due.

    Args:
        pacing: The load of the worker.
        batch: The batch sizes of the stream.
        tokens_per_event: The stream's `stream_interval`.
    """

    def __init__(self, pacing: Pacing, batch: GrowingBatch, tokens_per_event: int = 1) -> None:
        self._pacing = pacing
        self._batch = batch
        self._tokens_per_event = tokens_per_event
        self._posted_at: float | None = None
        self._measured_at: float | None = None
        self._waiting_since: float | None = None

    def wait(self, now: float, events: int) -> Wait:
        """Return how long `events` waiting events wait on, at the loop's time `now` in seconds."""
        if self._waiting_since is None:
            self._waiting_since = now
        if self._posted_at is not None:
            load_wait_s = self._posted_at + self._pacing.flush_interval_s() - now
            if load_wait_s > 0:
                return Wait(load_wait_s, wake_on_data=False)
        if events * self._tokens_per_event >= self._batch.size:
            return Wait(0.0, wake_on_data=False)
        # From the last post on: a reader sees the time between two pieces, not how long each
        # token waited, and the post itself takes its time too.
        since = self._waiting_since if self._posted_at is None else self._posted_at
        return Wait(since + self._pacing.max_delay_s - now, wake_on_data=True)

    def posted(self, now: float, events: int) -> None:
        """Note that so many waiting events were handed over for posting.

        Args:
            now: The loop's time, seconds.
            events: How many of them tell the model's speed, all since the last that did; 0 for
                what was counted before, and at the end of a stream, where some hold no token.
        """
        if events:
            if self._measured_at is not None:
                tokens = events * self._tokens_per_event
                self._pacing.note_speed(now - self._measured_at, tokens)
            self._measured_at = now
        self._posted_at = now
        self._waiting_since = None
        self._batch.grow()
