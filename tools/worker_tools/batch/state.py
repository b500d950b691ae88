"""The progress of a file, stored on disk, to resume a killed command."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from worker.errors import WorkerError


class StateError(WorkerError):
    """The saved progress does not belong to this command line."""


class Part(BaseModel):
    """One RunPod batch.

    Attributes:
        first: Index of its first line.
        count: Number of its lines.
        batch_id: RunPod's id; None before the draft exists.
        submitted: Whether the batch is final and holds exactly these lines.
        collected: Whether its results are on disk.
        status: Its last state at RunPod; None until the results are on disk.
    """

    model_config = ConfigDict(extra="forbid")

    first: int
    count: int
    batch_id: str | None = None
    submitted: bool = False
    collected: bool = False
    status: str | None = None


class Progress(BaseModel):
    """All batches of a file.

    Attributes:
        version: Of this format.
        endpoint: URL of the endpoint.
        sha256: Checksum of the file.
        parts: The batches, in order of the lines.
    """

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    endpoint: str
    sha256: str
    parts: list[Part]


class StateFolder:
    """The folder of a file's progress.

    Args:
        path: The folder; created when needed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other commands out.

        Raises:
            StateError: Another command works on the same file.
        """
        self._path.mkdir(parents=True, exist_ok=True)
        with (self._path / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StateError(f"another `worker batch` is using {self}") from None
            yield

    def load(self, endpoint: str, sha256: str) -> Progress | None:
        """Return the saved progress; None if there is none.

        Raises:
            StateError: It is of another file or endpoint, or unreadable.
        """
        path = self._path / "state.json"
        try:
            progress = Progress.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError):
            raise StateError(
                f"{path} cannot be read; name another --state, or delete it to start again"
            ) from None
        for what, saved, given in (
            ("file with other content", progress.sha256, sha256),
            (f"endpoint {progress.endpoint}", progress.endpoint, endpoint),
        ):
            if saved != given:
                raise StateError(
                    f"{self} holds the progress of a {what}; restore that, name another --state, "
                    "or delete the folder to start again"
                )
        return progress

    def save(self, progress: Progress) -> None:
        """Write the progress; a crash leaves either the old or the new one."""
        with replace_file(self._path / "state.json") as file:
            file.write(progress.model_dump_json(indent=1).encode())

    def results_path(self, part: Part) -> Path:
        """Return the file of a batch's results."""
        return self._path / f"results-{part.first:09d}.jsonl"

    def save_results(self, part: Part, results: Iterable[object]) -> None:
        """Write a batch's results, one JSON object a line."""
        with replace_file(self.results_path(part)) as file:
            for result in results:
                file.write(orjson.dumps(result, option=orjson.OPT_APPEND_NEWLINE))

    def load_results(self, part: Part) -> Iterator[dict[str, Any]]:
        """Yield a batch's results."""
        with self.results_path(part).open("rb") as file:
            for line in file:
                yield orjson.loads(line)


@contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """Replace a file in one step when the block ends; its new content is on the disk before."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
