"""What the engine's process gets through its environment, and what must never be seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from worker.errors import Problem
from worker.redaction import SECRET_NAME, Redactor
from worker.settings.groups import StorageSettings, WorkerSettings
from worker.settings.resolve import Resolved

CACHE_VARIABLES = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")
"""Setting any of them means that the user has placed the model cache."""

VOLUME = Path("/runpod-volume")


def engine_environment(worker: WorkerSettings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to add for the engine's process; secrets travel here, not in argv."""
    variables: dict[str, str] = {
        "VLLM_LOGGING_LEVEL": worker.logging.engine_level,
        "VLLM_MAX_STOP_STRINGS": str(worker.requests.max_stop_strings),
    }
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


def secret_values(values: Iterable[Resolved], environ: Mapping[str, str]) -> Iterator[str]:
    """Yield every value that must not leave the process in any text.

    Args:
        values: Resolved settings; those declared secret count.
        environ: The environment; variables named like a credential count, and passwords in URLs.
    """
    for name, value in environ.items():
        if SECRET_NAME.search(name.upper()):
            yield value
        elif password := _url_password(value):
            yield password
    yield from (str(item.value) for item in values if item.option.secret and item.value)


def _url_password(value: str) -> str | None:
    """Return the password of a URL such as `http://user:password@proxy:3128`."""
    if "://" not in value or "@" not in value:
        return None
    try:
        return urlsplit(value).password
    except ValueError:
        return None


def redact_problem(problem: Problem, redact: Redactor) -> Problem:
    """Return the problem with every secret hidden in what it repeats of the user's input."""
    got = None if problem.got is None else redact(problem.got)
    return dataclasses.replace(problem, got=got, message=redact(problem.message))
