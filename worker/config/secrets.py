"""What the engine's process gets through its environment, and what must never be seen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from worker.config.groups import StorageSettings, WorkerSettings

SECRET_NAME = re.compile(
    r"(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIALS?)"
    r"(_ID)?$"
)
SHORTEST_SECRET = 6
"""Shorter values are not redacted: replacing `1` everywhere would destroy every text."""

VOLUME = Path("/runpod-volume")


def engine_environment(worker: WorkerSettings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to add for the engine's process; secrets travel here, not in argv."""
    variables: dict[str, str] = {"VLLM_LOGGING_LEVEL": worker.logging.engine_level}
    if worker.model.hf_token is not None:
        variables["HF_TOKEN"] = worker.model.hf_token.get_secret_value()
    base = _base_path(worker.storage)
    if base is not None:
        cache = base / "huggingface-cache"
        for name, folder in (("HF_HOME", cache), ("HF_HUB_CACHE", cache / "hub")):
            if not environ.get(name) and not environ.get("HF_HOME"):
                variables[name] = str(folder)
    return variables


def _base_path(storage: StorageSettings) -> Path | None:
    if storage.base_path is not None:
        return storage.base_path
    return VOLUME if VOLUME.is_dir() else None


def secret_values(worker: WorkerSettings, environ: Mapping[str, str]) -> frozenset[str]:
    """Return every value that must not leave the process in any text."""
    found = {
        value
        for name, value in environ.items()
        if SECRET_NAME.search(name.upper()) and len(value) >= SHORTEST_SECRET
    }
    if worker.model.hf_token is not None:
        found.add(worker.model.hf_token.get_secret_value())
    return frozenset(found)
