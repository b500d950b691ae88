"""What the engine's process gets through its environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from worker.settings.groups import StorageSettings, WorkerSettings

CACHE_VARIABLES = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")
"""Setting any of them means that the user has placed the model cache."""

VOLUME = Path("/runpod-volume")


def engine_environment(settings: WorkerSettings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to add for the engine's process; secrets travel here, not in argv."""
    variables: dict[str, str] = {
        "VLLM_LOGGING_LEVEL": settings.logging.engine_level,
        "VLLM_MAX_STOP_STRINGS": str(settings.requests.max_stop_strings),
    }
    if settings.model.hf_token is not None:
        variables["HF_TOKEN"] = settings.model.hf_token.get_secret_value()
    base = base_path(settings.storage)
    if base is not None and not any(environ.get(name) for name in CACHE_VARIABLES):
        cache = base / "huggingface-cache"
        variables |= {"HF_HOME": str(cache), "HF_HUB_CACHE": str(cache / "hub")}
    return variables


def base_path(storage: StorageSettings) -> Path | None:
    """Return the folder that lasts between starts, None where there is none."""
    if storage.base_path is not None:
        return storage.base_path
    return VOLUME if VOLUME.is_dir() else None
