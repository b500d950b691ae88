from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.processes import (
    PRESENT,
    TICKS_PER_S,
    find_api_servers,
    find_socket,
    find_tree,
    measure_tree,
    read_cpu_s,
    read_memory_bytes,
)
from tests.benchmarks.samples import put_process


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    put_process(tmp_path, 10, 1, "python -m worker", ticks=1 * TICKS_PER_S, present_kb=50)
    put_process(tmp_path, 11, 10, "python -m child", ticks=2 * TICKS_PER_S, present_kb=100)
    put_process(tmp_path, 12, 11, "VLLM::EngineCore", ticks=4 * TICKS_PER_S, present_kb=200)
    put_process(tmp_path, 13, 12, "VLLM::Worker", ticks=8 * TICKS_PER_S, present_kb=400)
    put_process(tmp_path, 20, 1, "another", ticks=16 * TICKS_PER_S, present_kb=800)
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


def test_find_socket_is_that_of_the_process_below(tmp_path):
    put_process(tmp_path, 1, 0, "python -m worker start")
    put_process(tmp_path, 2, 1, "python -m worker.engine.child --uds /run/ours.sock")
    put_process(tmp_path, 3, 0, "python -m worker.engine.child --uds /run/another.sock")

    assert find_socket(1, tmp_path) == Path("/run/ours.sock")


def test_find_socket_reads_arguments_that_setproctitle_has_joined(tmp_path):
    put_process(tmp_path, 1, 0, "python -m worker start")
    put_process(tmp_path, 2, 1, "")
    (tmp_path / "2" / "cmdline").write_bytes(
        b"python -m worker.engine.early --uds /run/ours.sock\0"
    )

    assert find_socket(1, tmp_path) == Path("/run/ours.sock")


def test_find_socket_without_server_says_so(tmp_path):
    put_process(tmp_path, 1, 0, "python -m worker start")

    with pytest.raises(LookupError, match="no process below 1"):
        find_socket(1, tmp_path)


def test_find_api_servers_is_the_one_or_all_of_several(tmp_path):
    put_process(tmp_path, 1, 0, "python -m worker start")
    put_process(tmp_path, 2, 1, "python -m worker.engine.child --uds /run/ours.sock")

    assert find_api_servers(1, tmp_path) == [2]

    put_process(tmp_path, 3, 2, "VLLM::APIServer_0")
    put_process(tmp_path, 4, 2, "VLLM::APIServer_1")
    put_process(tmp_path, 5, 0, "VLLM::APIServer_0")

    assert find_api_servers(1, tmp_path) == [3, 4]


@pytest.mark.parametrize(
    ("threads_ns", "seconds"),
    [
        pytest.param([], 0.04, id="not-told"),
        pytest.param([41_500_000, 2_000_000], 0.0435, id="of-threads"),
        pytest.param([10_000_000], 0.04, id="threads-have-ended"),
    ],
)
def test_read_cpu_takes_the_finer_figure(tmp_path, threads_ns, seconds):
    put_process(tmp_path, 1, 0, "python", ticks=int(0.02 * TICKS_PER_S))
    for number, ns in enumerate(threads_ns):
        (tmp_path / f"1/task/{number}").mkdir(parents=True)
        (tmp_path / f"1/task/{number}/schedstat").write_text(f"{ns} 5 6\n")

    assert read_cpu_s(tmp_path / "1") == pytest.approx(seconds)
