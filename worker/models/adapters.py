"""Which LoRA adapters a request may name, and where they come from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from worker.errors import shorten
from worker.models.name import REPOSITORY
from worker.validation_errors import invalid_value

VARIABLE = "WORKER_ADAPTERS"
"""Variable of the engine's environment with the sources; unset where requests name none."""

TIMEOUT_VARIABLE = "WORKER_ADAPTER_TIMEOUT_S"
"""… and with the longest time that a request waits for an adapter, seconds."""

EXPECTED = "patterns of repositories and absolute folders, e.g. my-org/*,/runpod-volume/adapters"

PATTERN = re.compile(r"[\w*?][\w.*?-]*/[\w*?][\w.*?-]*", re.ASCII)
REVISION = re.compile(r"\w[\w./-]{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True)
class AdapterSources:
    """Sources of adapters.

    Attributes:
        folders: Absolute folders; each subfolder with an adapter has its name. They come first.
        repositories: Patterns of repositories on the Hugging Face hub.
    """

    folders: tuple[Path, ...] = ()
    repositories: tuple[str, ...] = ()

    def find_folder(self, name: str) -> Path | None:
        """Return the folder of an adapter, None if it is in no folder.

        Args:
            name: A name as a request has it; any text.
        """
        if not REPOSITORY.fullmatch(name):
            return None
        # Unlike Path's method, false for a name that is too long.
        return next((path for path in self._paths(name) if os.path.isdir(path)), None)

    def find_repository(self, name: str) -> tuple[str, str | None] | None:
        """Return the repository and the revision of an adapter, None if it is not allowed.

        Args:
            name: A name as a request has it, `org/adapter` or `org/adapter@revision`; any text.
        """
        repository, separator, revision = name.partition("@")
        if not REPOSITORY.fullmatch(repository) or ".." in name:
            return None
        if separator and not REVISION.fullmatch(revision):
            return None
        is_allowed = any(fnmatchcase(repository, pattern) for pattern in self.repositories)
        return (repository, revision or None) if is_allowed else None

    def _paths(self, name: str) -> Iterator[Path]:
        return (folder / name for folder in self.folders)


def read_sources(text: str) -> AdapterSources:
    """Return the sources in a comma-separated list.

    Raises:
        PydanticCustomError: An entry is neither a pattern nor an absolute folder.
    """
    entries = [part.strip() for part in text.split(",") if part.strip()]
    if not entries:
        raise invalid_value("names no adapter", EXPECTED)
    for entry in entries:
        if not entry.startswith("/") and not PATTERN.fullmatch(entry):
            raise invalid_value(
                f"{shorten(entry)!r} is neither a repository nor a folder", EXPECTED
            )
    return AdapterSources(
        tuple(Path(entry) for entry in entries if entry.startswith("/")),
        tuple(entry for entry in entries if not entry.startswith("/")),
    )
