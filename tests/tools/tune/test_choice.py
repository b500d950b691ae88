"""The knee, the choices, their price, and the next load, from measurements that are made up."""

import pytest

from worker.profile.pools import find_pool
from worker_tools.tune.choice import (
    CHEAPEST,
    KNEE,
    TARGET,
    Rent,
    Targets,
    choose,
    next_concurrency,
)
from worker_tools.tune.measurement import Load, Measurement, Spread

SEQS = 32
ANY = Targets()


def measure(
    count: int, *, seqs: int = SEQS, noise: float = 1.0, failed: int = 0, rate: float | None = None
) -> Measurement:
    """Requests that share a GPU: each one more slows down all, above `seqs` the rest waits."""
    running = min(count, seqs)
    token_ms = 5 + 0.1 * running
    own_ms = 20 + running + 99 * token_ms
    total_ms = own_ms * max(1.0, count / seqs) / noise
    requests = 4 * count
    load = Load(requests=requests, concurrency=None if rate else count, rate=rate)
    answered = requests - failed
    return Measurement(
        load=load,
        completed=answered,
        failed=failed,
        seconds=requests / count * total_ms / 1000,
        input_tokens=answered * 400,
        output_tokens=answered * 100,
        first_token_ms=spread(20 + running + total_ms - own_ms),
        token_ms=spread(token_ms),
        total_ms=spread(total_ms),
        mean_total_ms=total_ms,
        errors={"Too Many Requests": failed} if failed else {},
    )


def spread(value: float) -> Spread:
    return Spread(p50=value, p95=value * 1.1, p99=value * 1.2)


def sweep(most: int = 256, targets: Targets = ANY, **options: int) -> list[Measurement]:
    """Measure what `next_concurrency` asks for."""
    points: list[Measurement] = []
    while (count := next_concurrency(points, most, targets)) is not None:
        assert count not in [point.at_once for point in points]
        points.append(measure(count, **options))
        assert len(points) < 30
    return points


def names(points, targets=ANY) -> dict[str, int]:
    return {choice.name: choice.point.at_once for choice in choose(points, targets)}


def test_sweep_ends_where_throughput_stops_growing():
    assert [point.at_once for point in sweep()] == [1, 2, 4, 8, 16, 32, 64, 128]


def test_one_measurement_without_growth_does_not_end_the_sweep():
    points = [measure(1), measure(2), measure(4), measure(8, noise=0.4)]
    assert next_concurrency(points, 256, ANY) == 16
    assert next_concurrency([*points, measure(16, noise=0.2)], 256, ANY) is None


def test_knee_is_where_latency_starts_to_cost_more_than_throughput_gains():
    # Latency doubles at 46 requests; the server stops batching at 256 only.
    points = [measure(count, seqs=256) for count in (1, 2, 4, 8, 16, 32, 64, 128, 256)]
    assert names(points) == {KNEE: 32, CHEAPEST: 256}


def test_knee_is_not_moved_by_loads_far_above_it():
    few = [measure(count, seqs=32) for count in (1, 8, 32, 64)]
    more = [*few, *(measure(count, seqs=32) for count in (128, 512, 2048))]
    assert names(few)[KNEE] == names(more)[KNEE] == 32


def test_one_measurement_is_every_choice():
    targets = Targets(token_ms=1000)
    assert names([measure(4)], targets) == {TARGET: 4, KNEE: 4, CHEAPEST: 4}


def test_server_that_is_full_with_the_first_request():
    points = sweep(seqs=1)
    assert [point.at_once for point in points] == [1, 2, 4]
    assert names(points) == {KNEE: 1, CHEAPEST: 1}


def test_no_valid_measurement_gives_no_choice():
    assert choose([], Targets()) == []
    assert choose([measure(4, failed=16)], Targets()) == []


def test_load_with_failures_is_no_choice_and_ends_the_sweep():
    points = [measure(1), measure(2), measure(4, failed=4)]
    assert names(points) == {KNEE: 2, CHEAPEST: 2}
    assert next_concurrency(points, 256, Targets()) is None


def test_one_failure_in_a_hundred_is_tolerated():
    assert names([measure(64, failed=2)])[KNEE] == 64
    assert choose([measure(64, failed=3)], Targets()) == []


@pytest.mark.parametrize("noise", [0.985, 0.99, 1.01, 1.015])
def test_noise_does_not_raise_the_choice(noise):
    points = [measure(32, seqs=32), measure(64, seqs=32, noise=noise)]
    assert names(points) == {KNEE: 32, CHEAPEST: 32}


def test_target_is_the_most_throughput_that_keeps_it():
    targets = Targets(token_ms=7.5)  # 5.5 + 0.11 * n
    points = sweep(targets=targets, seqs=256)
    counts = sorted(point.at_once for point in points)
    assert counts[-1] == 32
    kept = names(points, targets)[TARGET]
    assert 14 <= kept <= 18
    [above] = [count for count in counts if count > kept][:1]
    assert above / kept <= 1.3
    assert choose(points, targets)[0].name == TARGET


def test_both_targets_count():
    points = [measure(count, seqs=256) for count in (1, 8, 64)]
    assert names(points, Targets(first_token_ms=50))[TARGET] == 8
    assert names(points, Targets(first_token_ms=50, token_ms=5.7))[TARGET] == 1


def test_target_that_no_load_keeps():
    targets = Targets(token_ms=1)
    points = sweep(targets=targets)
    assert [point.at_once for point in points] == [1]
    assert TARGET not in names(points, targets)


def test_largest_load_is_tried_also_when_it_is_no_power_of_two():
    assert sweep(most=100, seqs=1000)[-1].at_once == 100


def test_settings_of_a_choice():
    [knee, cheapest] = choose([measure(10)], Targets())
    assert knee.settings == {"MAX_NUM_SEQS": 10, "MAX_CONCURRENCY": 10}
    assert cheapest.settings == {"MAX_NUM_SEQS": 10, "MAX_CONCURRENCY": 13}
    assert knee.request_count == cheapest.request_count == 10


def test_rate_counts_as_the_requests_that_it_keeps_running():
    point = measure(8, rate=7.5)
    assert str(point.load) == "7.5 per s"
    assert point.at_once in (8, 9)  # Little's law, rounded up


def test_price_is_that_of_a_second_over_its_tokens():
    rent = Rent(find_pool("H100"), 2)
    assert rent.usd_per_s == 2 * 0.00116
    assert rent.usd_per_million(2000) == pytest.approx(1.16)
    assert rent.usd_per_million(0) is None
    assert Rent(find_pool("RTX 5090"), 1).usd_per_million(2000) is None
