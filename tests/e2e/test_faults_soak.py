"""The soak in short; `python -m tests.e2e.support.soak --minutes 30` is the whole one."""

from pathlib import Path

import pytest

from tests.e2e.support.deployment import make_environ
from tests.e2e.support.soak import Soak
from tests.e2e.support.soak_answers import is_repeated_only

SECONDS = 40
GROWTH_KIB = 64 * 1024


@pytest.mark.faults
async def test_soak_loses_and_repeats_no_job(tiny_model: Path) -> None:
    environ = make_environ(tiny_model, DRAIN_TIMEOUT_S="5")
    figures = await Soak(environ, seed=7, violence_s=12).run(SECONDS)
    print(figures.report())
    # How many there are depends on the machine; some of each kind tell enough.
    assert figures.jobs > 20
    assert figures.chunks > 20
    assert (figures.lost, figures.repeated, figures.wrong) == (0, 0, [])
    assert all(kib[-1] - kib[0] < GROWTH_KIB for kib in figures.memory_kib)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [("aab", True), ("aaab", True), ("aabb", True), ("ab", False), ("aba", False), ("baab", False)],
)
def test_is_repeated_only_allows_a_chunk_that_came_twice(chunks: str, expected: bool) -> None:
    assert is_repeated_only(chunks, "aab") is expected
