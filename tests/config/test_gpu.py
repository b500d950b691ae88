"""What the driver's library says of the GPUs; the library itself is a stand-in."""

import ctypes

import pytest

from worker.config import gpu
from worker.config.gpu import Gpu, list_gpus
from worker.config.hardware import GIB, detect_hardware


class Driver:
    """NVML as far as it is used."""

    def __init__(self, gpus, status=0):
        self.gpus, self.status, self.calls = gpus, status, []

    def nvmlInit_v2(self):
        return self.status

    def nvmlShutdown(self):
        self.calls.append("shutdown")

    def nvmlDeviceGetCount_v2(self, count):
        count._obj.value = len(self.gpus)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index, device):
        device._obj.value = index.value + 1
        return 0 if self.gpus[index.value] else 1

    def nvmlDeviceGetMemoryInfo(self, device, memory):
        memory._obj.total = self.gpus[device.value - 1][1]
        return 0

    def nvmlDeviceGetName(self, device, name, length):
        name.value = self.gpus[device.value - 1][0].encode()[: length.value]
        return 0


@pytest.fixture
def load(monkeypatch):
    def install(driver):
        monkeypatch.setattr(gpu.ctypes, "CDLL", lambda _name: driver)
        return driver

    return install


def test_list_gpus_names_each_with_its_memory(load):
    driver = load(Driver([("NVIDIA H100 80GB HBM3", 80 * GIB), None, ("NVIDIA L4", 24 * GIB)]))

    assert list_gpus() == (Gpu("NVIDIA H100 80GB HBM3", 80 * GIB), Gpu("NVIDIA L4", 24 * GIB))
    assert driver.calls == ["shutdown"]


def test_list_gpus_of_a_driver_that_does_not_work(load):
    driver = load(Driver([], status=9))

    assert list_gpus() == ()
    assert driver.calls == []


def test_list_gpus_without_driver():
    assert list_gpus("libnothing-of-that-name.so.1") == ()


def test_detect_hardware_takes_the_smallest_gpu(tmp_path):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()
    found = (Gpu("large", 80 * GIB), Gpu("small", 24 * GIB))

    hardware = detect_hardware({}, tmp_path, lambda: found)

    assert (hardware.gpu_name, hardware.gpu_bytes) == ("small", 24 * GIB)


def test_detect_hardware_does_not_ask_without_a_device(tmp_path):
    def ask():
        raise AssertionError("asked")

    assert detect_hardware({}, tmp_path, ask).gpu_bytes is None


def test_memory_structure_is_that_of_the_driver():
    assert ctypes.sizeof(gpu._Memory) == 24
