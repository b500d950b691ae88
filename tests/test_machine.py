"""Finding GPUs, memory and cores without importing torch."""

import os

import pytest

from worker.machine import GIB, detect_machine


@pytest.fixture
def machine(tmp_path):
    def build(*, gpus=0, **limits):
        (tmp_path / "dev").mkdir()
        for name in ("nvidiactl", "nvidia-uvm", *(f"nvidia{n}" for n in range(gpus))):
            (tmp_path / "dev" / name).touch()
        (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
        for name, text in limits.items():
            (tmp_path / f"sys/fs/cgroup/{name}.max").write_text(text)
        return tmp_path

    return build


@pytest.mark.parametrize(
    ("present", "visible", "count"),
    [
        (0, None, 0),
        (0, "0,1", 0),
        (4, None, 4),
        (4, "1,2", 2),
        (4, "", 0),
        (4, "-1", 0),
        (4, "0,-1,1", 1),
        (2, "0,1,2,3", 2),
        (1, "MIG-aaaa,MIG-bbbb", 2),
    ],
)
def test_detect_machine_counts_visible_gpus(machine, present, visible, count):
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}

    assert detect_machine(environ, machine(gpus=present)).gpus == count


def test_detect_machine_obeys_the_memory_limit_of_the_container(machine):
    assert detect_machine({}, machine(memory=f"{GIB}\n")).memory_bytes == GIB


def test_detect_machine_without_limit_takes_the_whole_memory(machine):
    assert detect_machine({}, machine(memory="max\n")).memory_bytes > GIB // 4


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        pytest.param("max 100000\n", len(os.sched_getaffinity(0)), id="none"),
        pytest.param("100000 100000\n", 1, id="one-core"),
        pytest.param("50000 100000\n", 1, id="half-a-core"),
        pytest.param("99900000 100000\n", len(os.sched_getaffinity(0)), id="more-than-there-are"),
        pytest.param("nonsense", len(os.sched_getaffinity(0)), id="unreadable"),
    ],
)
def test_detect_machine_obeys_the_core_limit_of_the_container(machine, limit, cores):
    assert detect_machine({}, machine(cpu=limit)).cores == cores
