from __future__ import annotations

import math

import pytest

from benchmarks.quantile import percentile


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        pytest.param([3, 1, 2], 50, 2, id="middle"),
        pytest.param([1, 2, 3, 4], 50, 2, id="lower-middle"),
        pytest.param(range(1, 101), 99, 99, id="p99-of-100"),
        pytest.param(range(1, 11), 99, 10, id="p99-of-few-is-the-most"),
        pytest.param([7], 0, 7, id="only-one"),
    ],
)
def test_percentile_of_values_is_one_of_them(values, percent, expected):
    assert percentile(values, percent) == expected


def test_percentile_of_nothing_is_nan():
    assert math.isnan(percentile([], 50))
