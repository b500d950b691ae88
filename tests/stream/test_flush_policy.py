import pytest

from worker.stream.flush_policy import (
    AVERAGE_S,
    MAX_FLUSH_INTERVAL_S,
    MAX_STREAM_INTERVAL,
    PEAK,
    POSTS_PER_SECOND,
    TYPICAL_TOKEN_S,
    FlushTimer,
    GrowingBatch,
    StreamLoad,
)

MAX_DELAY_S = 0.1


class SteadyLoad(StreamLoad):
    """A number of streams that has not changed for long."""

    def __init__(self, streams: int) -> None:
        self.now = 0.0
        super().__init__(MAX_DELAY_S, lambda: self.now)
        self.active = streams
        self.now = 1000.0


def sizes(batch: GrowingBatch, count: int) -> list[float]:
    found = []
    for _ in range(count):
        found.append(batch.size)
        batch.grow()
    return found


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        pytest.param((1, 50, 3.0), [1, 3, 9, 27, 50, 50, 50], id="original-defaults"),
        pytest.param((2, 10, 1.5), [2, 3, 4.5, 6.75, 10, 10], id="fractions-count"),
        pytest.param((1, 50, 1.0), [50, 50], id="growth-of-one-is-constant"),
        pytest.param((1, 50, 0.5), [50, 50], id="growth-below-one-is-constant"),
        pytest.param((50, 50, 3.0), [50, 50], id="minimum-equals-maximum"),
        pytest.param((80, 50, 3.0), [50, 50], id="minimum-above-maximum"),
        pytest.param((1, 1, 3.0), [1, 1], id="token-by-token"),
    ],
)
def test_growing_batch_grows_by_its_factor_up_to_the_largest(batch, expected):
    assert sizes(GrowingBatch(*batch), len(expected)) == expected


@pytest.mark.parametrize(
    ("streams", "token_s", "tokens"),
    [
        pytest.param(1, TYPICAL_TOKEN_S, 1, id="alone"),
        pytest.param(8, TYPICAL_TOKEN_S, 1, id="few"),
        pytest.param(32, TYPICAL_TOKEN_S, 2, id="more"),
        pytest.param(100, 0.04, 5, id="many"),
        pytest.param(300, 0.08, 5, id="very-many"),
        pytest.param(10_000, 0.08, 5, id="beyond-the-longest-flush-interval"),
        pytest.param(300, 0.001, MAX_STREAM_INTERVAL, id="fast-model-has-a-limit"),
        pytest.param(32, 0.008, 6, id="fast-model"),
        pytest.param(1, 0.003, 1, id="fast-model-alone"),
        pytest.param(128, 0.05, 5, id="slow-model"),
        pytest.param(128, 1.0, 1, id="very-slow-model-token-by-token"),
    ],
)
def test_stream_interval_leaves_a_margin_before_each_post(streams, token_s, tokens):
    stream_load = SteadyLoad(streams)
    stream_load.token_s = token_s
    assert stream_load.stream_interval() == tokens


def test_record_token_time_follows_the_latest_measurements():
    stream_load = StreamLoad(MAX_DELAY_S)
    stream_load.record_token_time(0.0, 10)
    assert 0.9 * TYPICAL_TOKEN_S < stream_load.token_s < TYPICAL_TOKEN_S
    for _ in range(200):
        stream_load.record_token_time(1.0, 10)
    assert stream_load.token_s == pytest.approx(0.1, rel=0.01)


@pytest.mark.parametrize("streams", [1, 10, 100, 199, 200, 201, 5000])
def test_flush_interval_bounds_posts_per_second(streams):
    interval_s = SteadyLoad(streams).flush_interval_s()
    assert interval_s <= MAX_FLUSH_INTERVAL_S
    if interval_s < MAX_FLUSH_INTERVAL_S:
        assert streams / interval_s == pytest.approx(POSTS_PER_SECOND)


def test_flush_interval_follows_the_average_of_a_load_that_varies():
    stream_load = SteadyLoad(40)
    steady_s = stream_load.flush_interval_s()

    stream_load.active = 50
    assert stream_load.flush_interval_s() == pytest.approx(steady_s)
    stream_load.now += AVERAGE_S
    assert steady_s < stream_load.flush_interval_s() < 50 / POSTS_PER_SECOND
    stream_load.now += 100 * AVERAGE_S
    assert stream_load.flush_interval_s() == pytest.approx(50 / POSTS_PER_SECOND)


@pytest.mark.parametrize(
    ("before", "streams", "counted"),
    [
        pytest.param(0, 30, 30, id="from-none"),
        pytest.param(40, 40 * PEAK + 1, 40 * PEAK + 1, id="burst"),
        pytest.param(60, 60 / PEAK - 1, 60 / PEAK - 1, id="most-have-ended"),
        pytest.param(40, 40 * PEAK - 1, 40, id="not-a-burst"),
    ],
)
def test_flush_interval_follows_a_large_change_at_once(before, streams, counted):
    stream_load = SteadyLoad(before)
    stream_load.flush_interval_s()
    stream_load.active = streams
    assert stream_load.flush_interval_s() == pytest.approx(counted / POSTS_PER_SECOND)


def test_average_counts_each_number_of_streams_for_its_time():
    stream_load = SteadyLoad(0)
    with stream_load.stream(), stream_load.stream():
        stream_load.now += 1000.0
    stream_load.active = 1
    assert stream_load.flush_interval_s() == pytest.approx(2 / POSTS_PER_SECOND)


def test_stream_counts_while_open_also_after_an_error():
    stream_load = StreamLoad(MAX_DELAY_S)
    seen = []

    def fail_within_two_streams():
        with stream_load.stream():
            with stream_load.stream():
                seen.append(stream_load.active)
            seen.append(stream_load.active)
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fail_within_two_streams()
    assert [*seen, stream_load.active] == [2, 1, 0]


def flush_of(
    batch: tuple[int, int, float], *, streams: int = 1, tokens_per_event: int = 1
) -> FlushTimer:
    return FlushTimer(SteadyLoad(streams), GrowingBatch(*batch), tokens_per_event)


def test_flush_first_token_is_due_at_once():
    assert flush_of((1, 50, 3.0)).delay(100.0, 1).seconds <= 0


@pytest.mark.parametrize(
    ("events", "tokens_per_event", "due"),
    [
        pytest.param(9, 1, False, id="below"),
        pytest.param(10, 1, True, id="reached"),
        pytest.param(2, 4, False, id="below-in-tokens"),
        pytest.param(3, 4, True, id="reached-in-tokens"),
    ],
)
def test_flush_is_due_when_the_batch_is_full(events, tokens_per_event, due):
    delay = flush_of((10, 10, 1.0), tokens_per_event=tokens_per_event).delay(5.0, events)
    assert (delay.seconds <= 0) is due
    assert delay.wake_on_data is not due


def test_flush_waits_no_longer_than_the_bound_for_a_full_batch():
    flush = flush_of((50, 50, 1.0))
    assert flush.delay(10.0, 1).seconds == pytest.approx(MAX_DELAY_S)
    # More tokens do not put it off.
    assert flush.delay(10.06, 2).seconds == pytest.approx(MAX_DELAY_S - 0.06)
    assert flush.delay(10.0 + MAX_DELAY_S, 3).seconds <= 1e-9


def test_flush_delay_restarts_after_a_post():
    flush = flush_of((50, 50, 1.0))
    flush.delay(10.0, 1)
    flush.posted(10.1, 1)
    assert flush.delay(10.14, 1).seconds == pytest.approx(MAX_DELAY_S - 0.04)
    # A token that comes late, of a slow model, waits no longer.
    assert flush.delay(11.0, 1).seconds <= 0


def test_flush_without_delay_posts_everything_at_once():
    flush = FlushTimer(StreamLoad(0.0), GrowingBatch(50, 50, 1.0))
    assert flush.delay(10.0, 1).seconds <= 0


def test_flush_under_load_waits_whatever_arrives():
    flush = flush_of((1, 1, 1.0), streams=120)
    assert flush.delay(10.0, 1).seconds <= 0
    flush.posted(10.0, 1)
    delay = flush.delay(10.05, 1000)
    assert delay.seconds == pytest.approx(120 / POSTS_PER_SECOND - 0.05)
    assert delay.wake_on_data is False
    assert flush.delay(10.31, 1000).seconds <= 0


def test_flush_measures_the_time_of_a_token_after_the_first_post():
    stream_load = StreamLoad(MAX_DELAY_S)
    flush = FlushTimer(stream_load, GrowingBatch(1, 1, 1.0), tokens_per_event=4)
    flush.posted(10.0, 1)
    assert stream_load.token_s == TYPICAL_TOKEN_S
    for post in range(1, 200):
        flush.posted(10.0 + 0.8 * post, 5)
    assert stream_load.token_s == pytest.approx(0.8 / (5 * 4), rel=0.01)


def test_flush_does_not_measure_at_the_end_of_a_stream():
    stream_load = StreamLoad(MAX_DELAY_S)
    flush = FlushTimer(stream_load, GrowingBatch(1, 1, 1.0))
    flush.posted(10.0, 1)
    flush.posted(10.001, 0)
    assert stream_load.token_s == TYPICAL_TOKEN_S


def test_flush_measures_from_the_last_measured_post():
    stream_load = StreamLoad(MAX_DELAY_S)
    flush = FlushTimer(stream_load, GrowingBatch(1, 1, 1.0))
    for post in range(200):
        # Each second ten events, posted in two chunks half a second apart.
        flush.posted(10.0 + post, 10)
        flush.posted(10.5 + post, 0)
    assert stream_load.token_s == pytest.approx(1.0 / 10, rel=0.01)


def test_flush_load_interval_follows_the_load_of_the_moment():
    stream_load = StreamLoad(MAX_DELAY_S)
    stream_load.active = 300
    flush = FlushTimer(stream_load, GrowingBatch(1, 1, 1.0))
    flush.delay(0.0, 1)
    flush.posted(0.0, 1)
    assert flush.delay(0.1, 5).seconds == pytest.approx(0.4)
    stream_load.active = 6
    assert flush.delay(0.1, 5).seconds <= 0
