from __future__ import annotations

import dataclasses
import math

import pytest

from benchmarks.load import Stream
from benchmarks.processes import Usage
from benchmarks.sample import median_sample, summarise

BEFORE = Usage(0.5, 1.0, 10.0, 0)
AFTER = Usage(0.6, 1.5, 12.0, 250_000_000)


def test_summarise_streams_gives_times_rates_and_costs():
    streams = [
        Stream(10.0, (10.1, 10.2, 10.4), 10.5, tokens=30, posts=4, size_bytes=2000),
        Stream(10.0, (10.3, 10.4), 11.0, tokens=10, posts=2, size_bytes=4000),
    ]

    sample = summarise(streams, BEFORE, AFTER, endpoint_cpu_s=0.25)

    assert sample.wall_s == pytest.approx(1.0)
    assert (sample.first_p50_ms, sample.first_p99_ms) == pytest.approx((100, 300))
    assert (sample.gap_p50_ms, sample.gap_p99_ms) == pytest.approx((100, 200))
    assert sample.tokens_per_s == pytest.approx(40)
    assert (sample.posts, sample.kilobytes) == pytest.approx((3, 3))
    assert (sample.front_cpu_s, sample.engine_cpu_s, sample.peak_mb) == pytest.approx((0.5, 2, 250))
    assert (sample.root_cpu_s, sample.endpoint_cpu_s) == pytest.approx((0.1, 0.25))


def test_summarise_whole_answers_has_no_chunks():
    sample = summarise([Stream(1.0, (), 2.0, tokens=5, posts=2)], BEFORE, AFTER, 0.0)

    assert math.isnan(sample.first_p50_ms)
    assert math.isnan(sample.gap_p99_ms)
    assert sample.wall_s == 1.0


def test_median_sample_takes_each_figure_by_itself():
    one = summarise([Stream(0.0, (0.1,), 1.0, tokens=1)], BEFORE, AFTER, 0.3)
    samples = [
        one,
        dataclasses.replace(one, wall_s=9.0, first_p50_ms=1.0),
        dataclasses.replace(one, wall_s=2.0, first_p50_ms=math.nan),
    ]

    median = median_sample(samples)

    assert median.wall_s == 2.0
    assert median.first_p50_ms == pytest.approx(50.5)
    assert math.isnan(median.gap_p50_ms)
