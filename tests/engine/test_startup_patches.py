"""Patches that shorten vLLM's start, without vLLM."""

from __future__ import annotations

import gc
import types
from enum import Enum, auto
from typing import Any

import pytest

from worker.engine.startup_patches import choose_sizes, drop_graphs, keep_objects_frozen

DECODE = [1, 2, 4, *range(8, 257, 8)]
"""vLLM's default sizes of graphs for steps that only generate, up to 256 requests."""
MIXED = [*DECODE, *range(272, 513, 16)]
"""vLLM's default sizes of graphs for steps that also read prompts."""


class Mode(Enum):
    PIECEWISE = auto()
    FULL = auto()


def graph(mode: Mode, tokens: int, adapters: int = 0) -> Any:
    return types.SimpleNamespace(cg_mode=mode, num_tokens=tokens, num_active_loras=adapters)


@pytest.mark.parametrize("mixed", [False, True])
def test_largest_size_is_always_captured(mixed: bool) -> None:
    assert max(choose_sizes([1, 2, 3, 250], mixed=mixed)) == 250
    assert choose_sizes([], mixed=mixed) == set()


@pytest.mark.parametrize(
    ("running", "most"),
    [(range(1, 33), 8), (range(33, 177), 16), (range(177, 257), 8)],
)
def test_step_that_generates_is_padded_by_few_requests(running: range, most: int) -> None:
    kept = choose_sizes(DECODE, mixed=False)

    padding = [min(size for size in kept if size >= count) - count for count in running]

    assert max(padding) < most


def test_fewer_than_half_of_the_graphs_are_captured() -> None:
    # The full ones of 35 take 50 ms each on an H100, the others of 51 take 105 ms.
    full, mixed = choose_sizes(DECODE, mixed=False), choose_sizes(MIXED, mixed=True)

    assert (len(DECODE), len(MIXED)) == (35, 51)
    assert (len(full), len(mixed)) == (26, 12)


def test_every_number_of_tokens_has_the_next_larger_graphs() -> None:
    captured = {
        Mode.PIECEWISE: [graph(Mode.PIECEWISE, size) for size in reversed(MIXED)],
        Mode.FULL: [graph(Mode.FULL, size) for size in reversed(DECODE)],
    }
    candidates: dict[tuple[int, int], list[Any]] = {(n, 0): [] for n in range(513)}

    drop_graphs(captured, candidates)

    assert {each.num_tokens for each in captured[Mode.FULL]} == choose_sizes(DECODE, mixed=False)
    sizes = [each.num_tokens for each in captured[Mode.PIECEWISE]]
    assert sizes == sorted(sizes, reverse=True), "vLLM captures the largest first"
    found = {n: [(g.cg_mode, g.num_tokens) for g in each] for (n, _), each in candidates.items()}
    assert found[1] == [(Mode.FULL, 1), (Mode.PIECEWISE, 32)]
    assert found[33] == [(Mode.FULL, 48), (Mode.PIECEWISE, 64)]
    assert found[200] == [(Mode.FULL, 200), (Mode.PIECEWISE, 224)]
    assert found[257] == [(Mode.PIECEWISE, 320)]
    assert all(found[n] for n in found)


def test_graphs_of_adapters_are_kept_apart() -> None:
    captured = {Mode.FULL: [graph(Mode.FULL, size, loras) for size in (8, 40) for loras in (0, 2)]}
    candidates: dict[tuple[int, int], list[Any]] = {(9, 0): [], (9, 2): [], (9, 5): []}

    drop_graphs(captured, candidates)

    found = {key: [each.num_active_loras for each in each] for key, each in candidates.items()}
    assert found == {(9, 0): [0], (9, 2): [2], (9, 5): []}


def test_frozen_objects_stay_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    unfreeze = gc.unfreeze
    monkeypatch.setattr(gc, "unfreeze", unfreeze)
    try:
        keep_objects_frozen()
        gc.freeze()
        frozen = gc.get_freeze_count()
        gc.unfreeze()
        assert gc.get_freeze_count() == frozen > 0
    finally:
        unfreeze()
