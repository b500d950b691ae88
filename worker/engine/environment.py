"""The environment of the engine process: what it inherits, and what vLLM needs set before it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from worker.engine.client import KEEP_ALIVE_S


def build_environment(environ: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """Return the engine's whole environment.

    Args:
        environ: The worker's own environment.
        settings: What the settings add; wins over `environ`.
    """
    environment = {
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(KEEP_ALIVE_S),
        "PYTHONUNBUFFERED": "1",
        **environ,
        **settings,
    }
    # The worker asks for the key itself; vLLM would ask the worker for it.
    environment.pop("VLLM_API_KEY", None)
    if "LD_PRELOAD" not in environment and (libraries := find_preloads()):
        environment["LD_PRELOAD"] = ":".join(str(library) for library in libraries)
    return environment


def find_preloads() -> list[Path]:
    """Return the libraries that vLLM's CPU build wants loaded before everything else.

    vLLM sets LD_PRELOAD itself while it reads its configuration, for the processes that it spawns;
    forked ones would miss them, and without PyTorch's own libgomp the threads bind badly. A GPU
    build of PyTorch brings no library that matches.
    """
    torch, vllm = (_find_package(name) for name in ("torch", "vllm"))
    found: list[Path] = []
    if vllm is not None:
        found += sorted((vllm / "libs").glob("libtcmalloc*.so*"))[:1]
    if torch is not None and not list((torch / "lib").glob("libtorch_cuda.so*")):
        beside = [*torch.parent.glob("torch.libs/libgomp*.so*"), *torch.glob("lib/libgomp*.so*")]
        found += sorted(beside)[:1]
    return found


def _find_package(name: str) -> Path | None:
    """Return a package's folder without importing it."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin else None
