from __future__ import annotations

import dataclasses

import pytest

from benchmarks.load import Burst
from benchmarks.plan import plan_bursts, shorter
from benchmarks.targets import check_targets, needed_bursts
from tests.benchmarks.samples import SAMPLE


def check(bursts: list[Burst], **worker: float) -> dict[str, tuple[float, float, bool]]:
    figures = {
        "engine": SAMPLE,
        "worker": dataclasses.replace(SAMPLE, **worker),
        "worker-vllm": dataclasses.replace(SAMPLE, kilobytes=100.0, front_cpu_s=5.0),
    }
    found = check_targets(
        lambda system, burst: figures[system] if burst in bursts else None, bursts, 128, 20
    )
    return {f.target: (f.figure, f.limit, f.met) for f in found}


def test_check_targets_subtracts_the_round_trip_from_first_chunks():
    found = check([Burst(1, 128, 20)], first_p50_ms=44.0)

    assert found["first chunk of one job on an idle worker, at most the engine's + 5 ms"] == (
        24.0,
        25.0,
        True,
    )


@pytest.mark.parametrize(
    ("figures", "target", "met"),
    [
        ({"wall_s": 4.4}, "wall at 128 streams, at most 1.1 times the engine's", True),
        ({"wall_s": 4.5}, "wall at 128 streams, at most 1.1 times the engine's", False),
        (
            {"front_cpu_s": 2.1},
            "front-end CPU at 128 streams, at most 2.2 times the engine's",
            True,
        ),
        (
            {"front_cpu_s": 1.6},
            "front-end CPU at 128 streams, at most 0.3 times worker-vllm's",
            False,
        ),
        (
            {"kilobytes": 20.0},
            "posted per stream at 128 streams, at most 0.2 times worker-vllm's",
            True,
        ),
    ],
)
def test_check_targets_at_128_streams(figures, target, met):
    assert check([Burst(128, 128, 20)], **figures)[target][2] is met


def test_check_targets_judges_only_what_was_measured():
    found = check([Burst(300, 128, 20)])

    assert not any("128" in target or "one job" in target for target in found)
    assert any("300" in target for target in found)


def test_check_targets_shows_the_gap_that_comes_closest_to_lag():
    found = check([Burst(1, 128, 20), Burst(32, 128, 500)], gap_p99_ms=300.0)

    [gap] = [target for target in found if target.startswith("gap")]
    assert "1 chat streams, round trip 20 ms" in gap
    assert found[gap] == (300.0, 200.0, False)


def test_check_targets_reports_the_cost_of_an_unread_token():
    whole = Burst(128, 128, 20, stream=False)
    figures = {
        whole: dataclasses.replace(SAMPLE, root_cpu_s=0.13),
        shorter(whole): dataclasses.replace(SAMPLE, root_cpu_s=0.1),
    }

    [found] = check_targets(
        lambda system, burst: figures.get(burst) if system == "worker" else None,
        list(figures),
        128,
        20,
    )

    assert (found.figure, found.limit) == pytest.approx((0.13, 0.12))
    assert not found.met


def test_needed_bursts_are_those_of_the_targets():
    bursts = plan_bursts([1, 8, 32, 128, 300], [0, 20, 50], 128, base_rtt_ms=20, cross=False)

    needed = needed_bursts(bursts, 128, 20)

    assert {Burst(1, 128, 0), Burst(8, 128, 0), Burst(128, 128, 20), Burst(300, 128, 20)} <= needed
    assert {burst for burst in needed if not burst.stream} == {
        Burst(128, 128, 20, stream=False),
        Burst(128, 16, 20, stream=False),
    }
    assert not any(burst.concurrency == 300 and burst.rtt_ms != 20 for burst in needed)
