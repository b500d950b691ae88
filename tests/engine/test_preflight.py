import os
import shutil
import stat
from pathlib import Path

import pytest

from worker.engine import preflight as module
from worker.engine.preflight import (
    Machine,
    PreflightError,
    cache_folder,
    check_machine,
    read_available_memory,
    read_build_version,
    read_driver_version,
)
from worker.errors import ExitCode
from worker.machine import GIB, MIB


@pytest.fixture
def torch(tmp_path) -> Path:
    """PyTorch's folder, built with CUDA 13.0."""
    folder = tmp_path / "torch"
    folder.mkdir()
    (folder / "version.py").write_text("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n")
    return folder


@pytest.fixture
def environ(tmp_path) -> dict[str, str]:
    return {"HF_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}


def install_tool(monkeypatch, folder: Path, script: str) -> None:
    """Put a program in nvidia-smi's place."""
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


async def refusal(model, environ, machine) -> PreflightError:
    with pytest.raises(PreflightError) as caught:
        await check_machine(model, environ, machine)
    assert caught.value.exit_code == ExitCode.UNAVAILABLE
    return caught.value


async def test_check_machine_without_gpu_build_needs_no_gpu(environ):
    await check_machine("org/name", environ, Machine())


async def test_check_machine_with_a_working_gpu_passes(environ, torch, tmp_path, monkeypatch):
    install_tool(monkeypatch, tmp_path, "echo 'GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)'")
    await check_machine("org/name", environ, Machine(torch=torch, driver_version=(13, 0)))


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        pytest.param(None, ["no NVIDIA driver", "--gpus all"], id="absent"),
        pytest.param((12, 8), ["too old", "offers CUDA 12.8", "needs 13.0"], id="too-old"),
    ],
)
async def test_check_machine_with_an_unsuitable_driver_fails(environ, torch, driver, words):
    error = await refusal("org/name", environ, Machine(torch=torch, driver_version=driver))
    assert error.check == "driver"
    for word in words:
        assert word in str(error)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param("echo 'No devices were found'", "No devices were found", id="no-device"),
        pytest.param(
            "echo 'Unable to determine the device handle for GPU 0'; exit 15",
            "Unable to determine the device handle",
            id="failed-device",
        ),
        pytest.param("exit 9", "status 9", id="no-word"),
        pytest.param("exec sleep 60", "did not answer within", id="hangs"),
    ],
)
async def test_check_machine_with_a_broken_gpu_fails(
    environ, torch, tmp_path, monkeypatch, script, words
):
    install_tool(monkeypatch, tmp_path, script)
    monkeypatch.setattr(module, "DRIVER_TIMEOUT_S", 0.3)
    error = await refusal("org/name", environ, Machine(torch=torch, driver_version=(13, 1)))
    assert error.check == "gpu"
    assert words in str(error)


@pytest.mark.parametrize("hidden", ["", "-1"])
async def test_check_machine_with_hidden_gpus_fails(environ, torch, hidden):
    variables = {**environ, "CUDA_VISIBLE_DEVICES": hidden}
    error = await refusal("org/name", variables, Machine(torch=torch, driver_version=(13, 0)))
    assert "hides every GPU" in str(error)


def memory(root: Path, *, available: int, limit: str, current: int = 0, file: int = 0) -> Path:
    (root / "proc").mkdir()
    (root / "proc/meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable:   {available // 1024} kB\n")
    group = root / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text(f"{limit}\n")
    (group / "memory.current").write_text(f"{current}\n")
    (group / "memory.stat").write_text(f"anon 1\nfile {file}\n")
    return root


@pytest.mark.parametrize(
    ("state", "free"),
    [
        pytest.param({"available": 8 * GIB, "limit": "max"}, 8 * GIB, id="no-limit"),
        pytest.param(
            {"available": 8 * GIB, "limit": str(4 * GIB), "current": 3 * GIB, "file": GIB},
            2 * GIB,
            id="limit-without-the-page-cache",
        ),
        pytest.param({"available": GIB, "limit": str(4 * GIB)}, GIB, id="machine-is-fuller"),
    ],
)
def test_read_available_memory(tmp_path, state, free):
    assert read_available_memory(memory(tmp_path, **state)) == free


def test_read_available_memory_without_proc_returns_none(tmp_path):
    assert read_available_memory(tmp_path) is None


async def test_check_machine_with_too_little_memory_fails(environ, tmp_path):
    root = memory(tmp_path, available=GIB, limit="max")
    error = await refusal("org/name", environ, Machine(filesystem_root=root))
    assert error.check == "memory"
    assert "Only 1.0 GiB of main memory (RAM) are free" in str(error)


class Usage:
    def __init__(self, free: int) -> None:
        self.free = free


async def test_check_machine_with_a_full_cache_disk_fails(environ, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: Usage(100 * MIB))
    error = await refusal("org/name", environ, Machine())
    assert error.check == "cache"
    assert "only 100 MiB are free there" in str(error)


async def test_check_machine_with_a_full_temporary_disk_fails(environ, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: Usage(0))
    assert (await refusal("org/name", environ, Machine())).check == "temporary"


async def test_check_machine_with_a_read_only_cache_fails(environ, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda folder, _mode: "cache" not in str(folder))
    (tmp_path / "cache").mkdir()
    error = await refusal("org/name", environ, Machine())
    assert error.check == "cache"
    assert f"{tmp_path / 'cache'} cannot be written to" in str(error)


@pytest.mark.parametrize("kind", ["cached", "path", "store"])
async def test_check_machine_with_a_local_model_needs_no_disk_space(
    environ, tmp_path, monkeypatch, kind
):
    (tmp_path / "cache/hub/models--org--name").mkdir(parents=True)
    free = {str(tmp_path): 10 * GIB}
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(free.get(str(folder), 0)))
    model = {"cached": "org/name", "path": "/models/x", "store": "s3://bucket/x"}[kind]
    await check_machine(model, environ, Machine())


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}, "/a"),
        ({"HUGGINGFACE_HUB_CACHE": "/a"}, "/a"),
        ({"HF_HOME": "/b"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c", "HOME": "/d"}, "/c/huggingface/hub"),
        ({"HOME": "/d"}, "/d/.cache/huggingface/hub"),
    ],
)
def test_cache_folder_follows_hugging_faces_variables(environ, folder):
    assert cache_folder(environ) == Path(folder)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("cuda: Optional[str] = '12.9'\n", (12, 9)),
        ("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\n", None),
        ("__version__ = '2.9.0+cu130'\ncuda = '13.0'\n", (13, 0)),
    ],
)
def test_read_build_version(tmp_path, text, version):
    (tmp_path / "version.py").write_text(text)
    assert read_build_version(tmp_path) == version


def test_read_build_version_without_torch_is_none(tmp_path):
    assert read_build_version(None) is None
    assert read_build_version(tmp_path) is None


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine has a driver")
def test_read_driver_version_without_a_driver_is_none():
    assert read_driver_version() is None
