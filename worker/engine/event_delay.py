"""A patch of vLLM that bounds how long a token waits for its event to fill.

`stream_interval` counts tokens and is chosen before a stream begins. A burst of long prompts makes
vLLM's steps ten times slower, and so its events: readers of 300 streams of an 8B model waited 1.5 s
for the 8th token. It is for the queue only, where the worker chooses the interval.

`tests/e2e/test_vllm_contract.py` fails with the reason when vLLM changes what is patched here.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

VARIABLE = "WORKER_BOUND_EVENTS"
"""Environment variable of vLLM's processes; any value turns the patch on."""

MAX_DELAY_S = 0.2
"""Maximum time between two events, once there are two tokens."""

MIN_TOKENS = 2
"""With an interval of one token, vLLM would send the newest one alone and lose those before it."""


def bound_event_delay(
    request_state: type[Any], clock: Callable[[], float] = time.monotonic
) -> None:
    """Patch vLLM's `RequestState`, which decides for each token whether it completes an event."""
    make = request_state.make_request_output

    @functools.wraps(make)
    def make_request_output(state: Any, *args: Any, **kwargs: Any) -> Any:
        interval = state.stream_interval
        if interval <= MIN_TOKENS:
            return make(state, *args, **kwargs)
        now = clock()
        sent_at = state.__dict__.setdefault("event_sent_at", now)
        if now - sent_at >= MAX_DELAY_S:
            state.stream_interval = MIN_TOKENS
        try:
            output = make(state, *args, **kwargs)
        finally:
            state.stream_interval = interval
        if output is not None:
            state.event_sent_at = now
        return output

    request_state.make_request_output = make_request_output
