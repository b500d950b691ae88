"""What the engine's process gets through its environment, and what must never be seen."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from worker.config.groups import StorageSettings, WorkerSettings
from worker.config.resolve import Resolved
from worker.errors import Problem

HIDDEN = "••••••"

SECRET_NAME = re.compile(
    r"(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIALS?)"
    r"(_ID)?$"
)
SHORTEST_SECRET = 6
"""Shorter values are not redacted: replacing `1` everywhere would destroy every text."""

CACHE_VARIABLES = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")
"""Setting any of them means that the user has placed the model cache."""

VOLUME = Path("/runpod-volume")


def engine_environment(worker: WorkerSettings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to add for the engine's process; secrets travel here, not in argv."""
    variables: dict[str, str] = {"VLLM_LOGGING_LEVEL": worker.logging.engine_level}
    if worker.model.hf_token is not None:
        variables["HF_TOKEN"] = worker.model.hf_token.get_secret_value()
    base = base_path(worker.storage)
    if base is not None and not any(environ.get(name) for name in CACHE_VARIABLES):
        cache = base / "huggingface-cache"
        variables |= {"HF_HOME": str(cache), "HF_HUB_CACHE": str(cache / "hub")}
    return variables


def base_path(storage: StorageSettings) -> Path | None:
    """Return the folder that lasts between starts, None where there is none."""
    if storage.base_path is not None:
        return storage.base_path
    return VOLUME if VOLUME.is_dir() else None


def secret_values(values: Iterable[Resolved], environ: Mapping[str, str]) -> frozenset[str]:
    """Return every value that must not leave the process in any text.

    Args:
        values: Resolved settings; those declared secret count.
        environ: The environment; variables named like a credential count, whoever reads them.
    """
    named = (value for name, value in environ.items() if SECRET_NAME.search(name.upper()))
    declared = (str(item.value) for item in values if item.option.secret and item.value)
    return frozenset(text for text in (*named, *declared) if len(text) >= SHORTEST_SECRET)


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with every secret hidden, also where JSON has escaped it."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN).replace(json.dumps(secret)[1:-1], HIDDEN)
    return text


def redact_problem(problem: Problem, secrets: Iterable[str]) -> Problem:
    """Return the problem with every secret hidden in what it repeats of the user's input."""
    secrets = tuple(secrets)
    got = None if problem.got is None else redact(problem.got, secrets)
    return dataclasses.replace(problem, got=got, message=redact(problem.message, secrets))
