from __future__ import annotations

from benchmarks.load import Burst
from benchmarks.memory import Held, describe_memory, read_sizes
from benchmarks.processes import PEAK, PRESENT
from tests.benchmarks.samples import put_process


def test_read_sizes_keeps_the_worker_apart_and_leaves_the_engine_out(tmp_path):
    put_process(tmp_path, 10, 1, "worker", present_kb=100)
    put_process(tmp_path, 11, 10, "server", present_kb=200)
    put_process(tmp_path, 12, 11, "VLLM::EngineCore", present_kb=400)

    assert read_sizes(10, PRESENT, tmp_path) == (100 * 1024, 200 * 1024)
    assert read_sizes(10, PEAK, tmp_path) == (200 * 1024, 400 * 1024)


def test_describe_memory_has_the_growth_per_stream():
    held = Held(Burst(300, 4000), 90_000_000, 150_000_000, 0, 0, 0, 30_000_000, 60.0)

    text = describe_memory(held, {"machine": "2 cores"})

    assert "- machine: 2 cores" in text
    assert "| peak above idle | 60.0 MB |" in text
    assert "| the same per stream | 200 kB |" in text
    assert "| posted per stream, each chunk and then the whole | 100 kB |" in text
