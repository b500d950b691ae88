from __future__ import annotations

import pytest

from worker.engine.event_delay import MAX_DELAY_S, bound_event_delay


class State:
    """What `RequestState` does with `stream_interval`, on numbers as tokens."""

    def __init__(self, stream_interval: int) -> None:
        self.stream_interval = stream_interval
        self.made: list[int] = []
        self.sent = 0

    def make_request_output(self, new_token_ids: list[int], *, finished: bool) -> list[int] | None:
        self.made += new_token_ids
        if self.stream_interval > 1:
            if not (
                finished or not self.sent or len(self.made) - self.sent >= self.stream_interval
            ):
                return None
            new_token_ids = self.made[self.sent :]
        self.sent = len(self.made)
        return new_token_ids


@pytest.mark.parametrize(
    ("interval", "step_s", "sizes"),
    [
        pytest.param(8, 0.01, [1, 8, 8, 3], id="fast-as-asked"),
        pytest.param(8, 0.09, [1, 3, 3, 3, 3, 3, 3, 1], id="slow-after-the-delay"),
        pytest.param(8, 0.3, [1, *[2] * 9, 1], id="very-slow-two-at-a-time"),
        pytest.param(2, 0.3, [1, *[2] * 9, 1], id="two-as-asked"),
        pytest.param(1, 0.3, [1] * 20, id="token-by-token"),
    ],
)
def test_events_hold_the_tokens_of_the_interval_or_of_the_delay(interval, step_s, sizes):
    class Patched(State):
        pass

    now = 0.0
    bound_event_delay(Patched, lambda: now)
    state = Patched(interval)
    events = []
    for token in range(20):
        now += step_s
        if (event := state.make_request_output([token], finished=token == 19)) is not None:
            events.append(event)

    assert [token for event in events for token in event] == list(range(20))
    assert [len(event) for event in events] == sizes
    assert state.stream_interval == interval
    assert MAX_DELAY_S > 2 * 0.09
