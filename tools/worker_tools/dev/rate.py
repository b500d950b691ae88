"""RunPod's documented request rates, enforced if `Limits.rate_limits` is set."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

WINDOW_S = 10.0
"""Length of the window that the documented rates refer to, in seconds."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What one operation allows.

    Attributes:
        requests: Requests per window.
        concurrent: Requests at the same time; None where nothing is documented.
    """

    requests: int
    concurrent: int | None = None


RATES = {
    "run": Rate(1000, 200),
    "runsync": Rate(2000, 400),
    "status": Rate(2000, 400),
    "stream": Rate(2000, 400),
    "cancel": Rate(100, 20),
    "purge-queue": Rate(2),
    "requests": Rate(10, 2),
    "openai": Rate(2000, 400),
}


@dataclass(slots=True)
class _Use:
    times: deque[float] = field(default_factory=deque)
    running: int = 0


class RateLimiter:
    """Counts requests per operation in a sliding window."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._uses: dict[str, _Use] = {name: _Use() for name in RATES}

    def enter(self, operation: str) -> bool:
        """Count one request; False if the operation's rate does not allow it."""
        rate = RATES.get(operation)
        if rate is None:
            return True
        use = self._uses[operation]
        now = self._now()
        while use.times and use.times[0] <= now - WINDOW_S:
            use.times.popleft()
        full = rate.concurrent is not None and use.running >= rate.concurrent
        if full or len(use.times) >= rate.requests:
            return False
        use.times.append(now)
        use.running += 1
        return True

    def leave(self, operation: str) -> None:
        """Record the end of a request that `enter` admitted."""
        if operation in RATES:
            self._uses[operation].running -= 1
