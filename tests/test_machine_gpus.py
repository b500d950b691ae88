"""GPUs as NVIDIA's library reports them; the driver below the library is replaced."""

import pynvml
import pytest

from worker.machine import GIB, Gpu, MachineInfo, detect_machine, list_gpus


class Driver:
    """The calls of NVML that are used; a GPU that is None cannot be reached."""

    def __init__(self, gpus, works=True):
        self.gpus, self.works, self.calls = gpus, works, []

    def nvmlInit(self):
        if not self.works:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)

    def nvmlShutdown(self):
        self.calls.append("shutdown")

    def nvmlDeviceGetCount(self):
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):
        if self.gpus[index] is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return self.gpus[index]

    def nvmlDeviceGetMemoryInfo(self, device):
        return type("Memory", (), {"total": device[1]})

    def nvmlDeviceGetName(self, device):
        return device[0]


@pytest.fixture
def load(monkeypatch):
    def install(driver):
        for name in dir(Driver):
            if name.startswith("nvml"):
                monkeypatch.setattr(pynvml, name, getattr(driver, name))
        return driver

    return install


def test_list_gpus_names_each_with_its_memory(load):
    driver = load(Driver([("NVIDIA H100 80GB HBM3", 80 * GIB), None, ("NVIDIA L4", 24 * GIB)]))

    assert list_gpus() == (Gpu("NVIDIA H100 80GB HBM3", 80 * GIB), Gpu("NVIDIA L4", 24 * GIB))
    assert driver.calls == ["shutdown"]


def test_list_gpus_without_working_driver_is_empty(load):
    driver = load(Driver([], works=False))

    assert list_gpus() == ()
    assert driver.calls == []


def test_detect_machine_takes_the_smallest_gpu(tmp_path):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()
    found = (Gpu("large", 80 * GIB), Gpu("small", 24 * GIB))

    machine = detect_machine({}, tmp_path, lambda: found)

    assert (machine.gpu_name, machine.gpu_bytes) == ("small", 24 * GIB)


def test_detect_machine_without_device_does_not_load_the_driver(tmp_path):
    def fail():
        raise AssertionError("driver loaded")

    assert detect_machine({}, tmp_path, fail) == MachineInfo(
        0, detect_machine({}).memory_bytes, cores=detect_machine({}).cores
    )
