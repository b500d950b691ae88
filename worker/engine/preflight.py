"""Preflight checks of the machine: milliseconds, before vLLM takes minutes and the GPU's memory.

They replace the checks of RunPod's SDK. Those run when the handler is ready, after vLLM has taken
the GPU's memory, import torch into the worker and allocate on the GPU. The checks here neither
import torch nor open a context on a GPU.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from worker.engine.environment import find_package
from worker.errors import ExitCode, WorkerError
from worker.machine import GIB, MIB

MIN_MEMORY_BYTES = 2 * GIB
"""vLLM's processes need about this much before they load a model."""

MIN_CACHE_BYTES = 256 * MIB
"""About the size of the smallest useful models."""

MIN_TEMPORARY_BYTES = 16 * MIB
"""For sockets and the files of compilers."""

DRIVER_TOOL = "nvidia-smi"
DRIVER_TIMEOUT_S = 20.0
"""A GPU that has failed can block the driver's tool forever."""

KILL_WAIT_S = 1.0
"""How long to wait for the tool after SIGKILL; the driver can block it."""

BUILD_VERSION = re.compile(r"^cuda\b[^=\n]*=\s*['\"](\d+)\.(\d+)", re.MULTILINE)
"""The line of torch/version.py that names the CUDA version of the build."""

OTHER_FORMS = ("/", "./", "../", "~")
"""Prefixes of a model that is a local path."""


class PreflightError(WorkerError):
    """The machine cannot serve; another machine or another setting of the endpoint can.

    Attributes:
        check: The check that failed: `gpu`, `driver`, `memory`, `cache` or `temporary`.
    """

    exit_code = ExitCode.UNAVAILABLE

    def __init__(self, check: str, message: str) -> None:
        self.check = check
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine that is checked.

    Attributes:
        filesystem_root: Root of the file system; another one in tests.
        torch: PyTorch's folder; None if it is not installed.
        driver_version: Highest CUDA version of the driver, `(major, minor)`; None without a driver.
    """

    filesystem_root: Path = Path("/")
    torch: Path | None = None
    driver_version: tuple[int, int] | None = None


def find_machine() -> Machine:
    """Return this machine."""
    return Machine(torch=find_package("torch"), driver_version=read_driver_version())


async def check_machine(model: str, environ: Mapping[str, str], machine: Machine) -> None:
    """Check everything that vLLM needs and a container may lack.

    Args:
        model: The model's repository or path.
        environ: The environment of the engine's process.
        machine: The machine.

    Raises:
        PreflightError: Something is missing; the text has the remedy.
    """
    _check_memory(machine.filesystem_root)
    _check_temporary(environ)
    _check_cache(model, environ)
    build = read_build_version(machine.torch)
    if build is not None:
        _check_driver(build, machine.driver_version)
        await _check_gpu(environ)


def read_build_version(torch: Path | None) -> tuple[int, int] | None:
    """Return the CUDA version that PyTorch was built with; None for a build without CUDA."""
    try:
        text = (torch / "version.py").read_text() if torch is not None else ""
    except OSError:
        return None
    found = BUILD_VERSION.search(text)
    return (int(found[1]), int(found[2])) if found else None


def read_driver_version() -> tuple[int, int] | None:
    """Return the CUDA version of the driver, without opening a GPU; None without a driver."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    version = ctypes.c_int()
    if library.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return None
    return version.value // 1000, version.value % 1000 // 10


def _check_driver(build: tuple[int, int], driver: tuple[int, int] | None) -> None:
    if driver is None:
        raise PreflightError(
            "driver",
            "The container has no NVIDIA driver (libcuda.so.1 cannot be loaded): choose a GPU for "
            "the endpoint; on a machine of your own start the container with --gpus all",
        )
    # Within one major version, CUDA's minor versions are compatible.
    if driver[0] < build[0]:
        needed = f"{build[0]}.{build[1]}"
        raise PreflightError(
            "driver",
            f"The machine's NVIDIA driver is too old: it offers CUDA {driver[0]}.{driver[1]}, this "
            f"image needs {needed}. Under the endpoint's advanced settings allow only CUDA "
            f"versions of {build[0]}.0 and above",
        )


async def _check_gpu(environ: Mapping[str, str]) -> None:
    if (visible := environ.get("CUDA_VISIBLE_DEVICES")) is not None and visible.strip() in (
        "",
        "-1",
    ):
        raise PreflightError(
            "gpu", f"CUDA_VISIBLE_DEVICES is {visible!r}, which hides every GPU: remove it"
        )
    if shutil.which(DRIVER_TOOL) is None:
        return  # A missing tool does not mean a missing GPU; vLLM will report that.
    process = await asyncio.create_subprocess_exec(
        DRIVER_TOOL,
        "--list-gpus",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(DRIVER_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        # Without the wait its pipe would stay open.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), KILL_WAIT_S)
        raise PreflightError(
            "gpu",
            f"The GPU's driver did not answer within {DRIVER_TIMEOUT_S:.0f} s: the GPU has failed; "
            "start a worker on another machine",
        ) from None
    lines = output.decode(errors="replace").strip().splitlines()
    if process.returncode != 0 or not any(line.startswith("GPU ") for line in lines):
        said = lines[-1] if lines else f"status {process.returncode}"
        raise PreflightError(
            "gpu",
            f"No GPU can be used; {DRIVER_TOOL} reports: {said}. If this happens again, choose "
            "another GPU type for the endpoint",
        )


def _check_memory(root: Path) -> None:
    available = read_available_memory(root)
    if available is not None and available < MIN_MEMORY_BYTES:
        raise PreflightError(
            "memory",
            f"Only {available / GIB:.1f} GiB of main memory (RAM) are free; vLLM needs "
            f"{MIN_MEMORY_BYTES / GIB:.0f} GiB next to the model: choose a machine with more",
        )


def read_available_memory(root: Path) -> int | None:
    """Return the main memory available to this container, bytes; None if it is unknown."""
    try:
        text = (root / "proc/meminfo").read_text()
    except OSError:
        return None
    found = re.search(r"^MemAvailable:\s*(\d+) kB", text, re.MULTILINE)
    if found is None:
        return None
    available = int(found[1]) * 1024
    group = root / "sys/fs/cgroup"
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        # The page cache counts as used, but the kernel frees it on demand.
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return available
    if not limit.isdigit():
        return available
    return min(available, int(limit) - used + int(stat.get("file", 0)))


def _check_temporary(environ: Mapping[str, str]) -> None:
    folder = Path(environ.get("TMPDIR") or "/tmp")  # noqa: S108  as Python's own tempfile
    if not os.access(folder, os.W_OK):
        raise PreflightError(
            "temporary", f"{folder} cannot be written to: set TMPDIR to a folder that can"
        )
    if shutil.disk_usage(folder).free < MIN_TEMPORARY_BYTES:
        raise PreflightError(
            "temporary",
            f"The disk of {folder} is full: give the endpoint a larger container disk, or set "
            "TMPDIR to a folder on another disk",
        )


def _check_cache(model: str, environ: Mapping[str, str]) -> None:
    if model.startswith(OTHER_FORMS) or "://" in model or Path(model).exists():
        return
    cache = cache_folder(environ)
    if (cache / f"models--{model.replace('/', '--')}").is_dir():
        return  # Complete or not: the hub's library resumes a partial download.
    existing = next(folder for folder in (cache, *cache.absolute().parents) if folder.exists())
    if not os.access(existing, os.W_OK):
        raise PreflightError(
            "cache",
            f"{model} is not in the model cache, {cache}, and cannot be downloaded, because "
            f"{existing} cannot be written to: set BASE_PATH to a folder that can, or put the "
            "model there beforehand",
        )
    free = shutil.disk_usage(existing).free
    if free < MIN_CACHE_BYTES:
        raise PreflightError(
            "cache",
            f"{model} is not in the model cache, {cache}, and cannot be downloaded, because only "
            f"{free / MIB:.0f} MiB are free there: give the endpoint a larger container disk or "
            "network volume",
        )


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return the model cache, by the rules of the Hugging Face library."""
    if explicit := environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(explicit)
    if home := environ.get("HF_HOME"):
        return Path(home) / "hub"
    general = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", "/")) / ".cache"
    return Path(general) / "huggingface" / "hub"
