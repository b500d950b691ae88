from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.processes import PRESENT, TICKS_PER_S, find_tree, measure_tree, read_memory_bytes


def put_process(proc: Path, pid: int, parent: int, title: str, ticks: int, peak_kb: int) -> None:
    folder = proc / str(pid)
    folder.mkdir()
    fields = ["S", parent, *[0] * 9, ticks, ticks, *[0] * 10]
    (folder / "stat").write_text(f"{pid} (odd ) name) {' '.join(str(f) for f in fields)}")
    (folder / "status").write_text(f"Name:\tx\nVmHWM:\t{peak_kb} kB\n")
    (folder / "cmdline").write_text(title)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    put_process(tmp_path, 10, 1, "python\0-m\0worker", 1 * TICKS_PER_S, 100)
    put_process(tmp_path, 11, 10, "python\0-m\0child", 2 * TICKS_PER_S, 200)
    put_process(tmp_path, 12, 11, "VLLM::EngineCore", 4 * TICKS_PER_S, 400)
    put_process(tmp_path, 13, 12, "VLLM::Worker", 8 * TICKS_PER_S, 800)
    put_process(tmp_path, 20, 1, "another", 16 * TICKS_PER_S, 1600)
    return tmp_path


def test_find_tree_has_all_generations_and_no_strangers(proc):
    assert find_tree(10, proc) == {10, 11, 12, 13}


def test_measure_tree_sets_the_engine_apart(proc):
    usage = measure_tree(10, proc)

    assert usage.root_cpu_s == 2 * 1
    assert usage.front_cpu_s == 2 * (1 + 2)
    assert usage.engine_cpu_s == 2 * (4 + 8)
    assert usage.front_peak_bytes == 300 * 1024


def test_measure_tree_of_this_process_is_plausible():
    usage = measure_tree(os.getpid())

    assert usage.front_cpu_s > 0
    assert usage.front_peak_bytes > 10_000_000


def test_read_memory_of_a_zombie_is_zero(tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tgone\nState:\tZ (zombie)\n")

    assert read_memory_bytes(status, PRESENT) == 0
