"""How a start is made short: which caches, where, and what is given up for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from worker.machine import GIB
from worker.metadata import Meta
from worker.settings.types import SettingsModel

StartupProfile = Literal["balanced", "fast", "throughput"]

OPTIMIZATION_LEVELS: Mapping[str, str] = {"fast": "0", "throughput": "3"}
"""Start-up profile -> vLLM's optimization level; `balanced` leaves it to vLLM."""

MOST_API_SERVERS = 4
"""One prepares the requests of a burst one after the other, which keeps a fast engine waiting
(docs/performance.md); more were not measured."""

CORES_PER_API_SERVER = 4
"""One for itself; the engine, the worker and vLLM's threads need the others."""

JOBS_PER_API_SERVER = 64
"""With no more at once, one keeps up."""

GIB_PER_API_SERVER = 8
"""Main memory, GiB: 1.5 for the process; up to 4 for the images it remembers; some to spare."""

CACHE_FOLDER = "worker-cache"
"""Below the volume's folder."""


class StartupSettings(SettingsModel):
    """How fast the first answer comes."""

    profile: Annotated[
        StartupProfile,
        Meta("STARTUP_PROFILE", title="Start-up profile"),
        Field(
            description=(
                "What a start is tuned for. `fast` skips compilation and CUDA graphs, for a "
                "model that starts often and answers little at a time; `throughput` optimizes "
                "most and starts slowest; `balanced` optimizes as vLLM itself chooses. The last "
                "two take requests through one of vLLM's API servers for every "
                f"{JOBS_PER_API_SERVER} jobs of MAX_CONCURRENCY, up to {MOST_API_SERVERS}, as "
                f"far as a GPU has {CORES_PER_API_SERVER} cores and {GIB_PER_API_SERVER} GiB of "
                "main memory beside it for each. OPTIMIZATION_LEVEL and API_SERVER_COUNT win "
                "over it."
            )
        ),
    ] = "balanced"
    prefetch_weights: bool = True
    """Read the weights into memory while vLLM is still being imported. It helps where they lie on a
    volume or a cold disk, and stops at half of the free memory."""
    cache_path: Annotated[
        Path | None,
        Meta(
            example="/runpod-volume/worker-cache",
            default_text="`worker-cache` on the volume, where there is one",
        ),
    ] = None
    """Folder that keeps compiled code and memory profiles between starts. It is copied to the local
    disk at start, and what is new goes back once the model answers."""


def choose_api_servers(profile: StartupProfile, *, jobs: int, cores: int, memory_bytes: int) -> int:
    """Return how many of vLLM's API servers to start before one engine on a GPU.

    Args:
        profile: The start-up profile.
        jobs: Most of them at once.
        cores: That this process may use.
        memory_bytes: Main memory that it may use, bytes.
    """
    if profile == "fast":
        return 1
    load = -(-jobs // JOBS_PER_API_SERVER)
    room = min(cores // CORES_PER_API_SERVER, memory_bytes // (GIB_PER_API_SERVER * GIB))
    return max(1, min(MOST_API_SERVERS, load, room))


def choose_cache(startup: StartupSettings, base: Path | None, version: str) -> Path | None:
    """Return the folder that keeps caches between starts, None where nothing lasts.

    Args:
        startup: The settings.
        base: The volume's folder, if there is one.
        version: Release of vLLM: another one never sees these caches.
    """
    root = startup.cache_path or (None if base is None else base / CACHE_FOLDER)
    return None if root is None else root / f"vllm-{version}"


def cache_variables(local: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that put all caches of compiled code below one local folder.

    Those that somebody has set stay. vLLM keys its own caches by configuration, GPU and versions;
    Triton and FlashInfer theirs by source and version.

    Args:
        local: The folder.
        environ: The worker's environment.
    """
    wanted = {
        "VLLM_CACHE_ROOT": str(local / "vllm"),
        "TRITON_CACHE_DIR": str(local / "triton"),
        "FLASHINFER_WORKSPACE_BASE": str(local / "flashinfer"),
        # Remembers how much memory a model takes on this GPU; measuring it again is most of a
        # start. vLLM uses it only for the same configuration, GPU and at least as much memory.
        "VLLM_ENABLE_STARTUP_PLAN": "1",
    }
    return {name: value for name, value in wanted.items() if not environ.get(name)}
