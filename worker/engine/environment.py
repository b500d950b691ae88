"""The environment of the engine process: inherited variables, and those that vLLM needs."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Collection, Mapping
from pathlib import Path

TOPOLOGY = Path("/sys/devices/system/cpu")


def build_environment(
    environ: Mapping[str, str], settings: Mapping[str, str], *, private_media: bool = False
) -> dict[str, str]:
    """Return the engine's whole environment.

    Args:
        environ: The worker's own environment.
        settings: Variables from the settings; they take precedence over `environ`.
        private_media: Whether URLs of media in requests may lead to private addresses.
    """
    # Here, because a start needs the other functions before it can spend time on imports.
    from worker.engine import media
    from worker.engine.client import KEEP_ALIVE_S

    environment = {
        media.CONNECTOR: media.ANY if private_media else media.PUBLIC,
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(KEEP_ALIVE_S),
        **environ,
        **settings,
    }
    # The worker checks the key itself; vLLM would demand it from the worker.
    environment.pop("VLLM_API_KEY", None)
    return with_first_variables(environment)


def with_first_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with what the engine's process needs before it runs any code.

    Args:
        environ: The environment; what it has already stays.
    """
    environment = {"PYTHONUNBUFFERED": "1", **environ}
    if "LD_PRELOAD" not in environment and (libraries := find_preloads()):
        environment["LD_PRELOAD"] = ":".join(str(library) for library in libraries)
    if "OMP_NUM_THREADS" not in environment and computes_on_cpu():
        threads = count_threads(os.sched_getaffinity(0))
        environment["OMP_NUM_THREADS"] = str(threads)
    return environment


def computes_on_cpu() -> bool:
    """Return whether the installed PyTorch is a CPU build."""
    torch = find_package("torch")
    return torch is not None and not list((torch / "lib").glob("libtorch_cuda.so*"))


def count_threads(cpus: Collection[int], topology: Path = TOPOLOGY) -> int:
    """Return the number of compute threads that vLLM itself would choose for one NUMA node.

    One per physical core, minus one core for the scheduler and the API server. vLLM sets the number
    only for processes that it spawns; in a forked process OpenMP has already read its environment
    and would use all cores. Its threads then wait for each other whenever anything else runs:
    measured on 2 busy cores, 128 streams took 2.3 to 7.5 s instead of 0.9 to 1.2 s.

    Args:
        cpus: Logical CPUs that this process may use.
        topology: The folder in which Linux describes them.
    """
    cores = set()
    for cpu in cpus:
        siblings = topology / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        cores.add(siblings.read_text().strip() if siblings.exists() else str(cpu))
    return max(1, len(cores) - 1)


def find_preloads() -> list[Path]:
    """Return the libraries that vLLM's CPU build needs preloaded.

    vLLM sets LD_PRELOAD itself while it reads its configuration, for the processes that it spawns;
    forked ones would miss them, and without PyTorch's own libgomp the threads bind badly. A GPU
    build of PyTorch brings no library that matches.
    """
    torch, vllm = (find_package(name) for name in ("torch", "vllm"))
    found: list[Path] = []
    if vllm is not None:
        found += sorted((vllm / "libs").glob("libtcmalloc*.so*"))[:1]
    if torch is not None and computes_on_cpu():
        bundled = [*torch.parent.glob("torch.libs/libgomp*.so*"), *torch.glob("lib/libgomp*.so*")]
        found += sorted(bundled)[:1]
    return found


def has_bytecode(name: str) -> bool:
    """Return whether a package has bytecode; True if it is not installed."""
    package = find_package(name)
    return package is None or (package / "__pycache__").is_dir()


def find_package(name: str) -> Path | None:
    """Return a package's folder without importing it."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin else None
