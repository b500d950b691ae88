"""Carry compiled code from one machine to another: `worker cache export` and `worker cache import`.

A cache fits one GPU, one vLLM with its PyTorch, and one set of arguments. The archive records them,
and an import refuses others with the reason.
"""

from __future__ import annotations

import importlib.metadata
import io
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from worker.engine.caches import CacheMirror
from worker.errors import ExitCode, UnavailableError, WorkerError
from worker.machine import MachineInfo, detect_machine
from worker.settings import Settings, load_settings

MANIFEST = "manifest.json"
FILES = "files"
"""Folder of the cache in the archive."""

COMPRESSION_LEVEL = 1
"""Compiled code is large and compresses well at once."""

PACKAGES = ("vllm", "torch", "triton")


class ArchiveError(WorkerError):
    """An archive does not fit or is damaged; the text has the reason."""

    exit_code = ExitCode.CONFIGURATION


def run_cache(work: Callable[[Settings, Path], str], path: Path, environ: Mapping[str, str]) -> int:
    """Run `export_cache` or `import_cache`, and print the result or the reason.

    Args:
        work: The function.
        path: The archive.
        environ: The worker's environment.

    Returns:
        Exit status.
    """
    try:
        print(work(load_settings(environ), path))
    except WorkerError as error:
        print(f"worker cache: {error}", file=sys.stderr, flush=True)
        return int(error.exit_code)
    return ExitCode.OK


def export_cache(settings: Settings, target: Path) -> str:
    """Write the kept cache into an archive.

    Args:
        settings: The resolved configuration.
        target: The archive, overwritten.

    Returns:
        A line for the user.

    Raises:
        UnavailableError: There is no cache, or it is empty.
    """
    kept = _find_folder(settings)
    if not kept.is_dir() or not any(kept.iterdir()):
        raise UnavailableError(f"{kept} is empty: start the worker once with these settings")
    manifest = orjson.dumps(describe(settings), option=orjson.OPT_INDENT_2)
    with tarfile.open(target, "w:gz", compresslevel=COMPRESSION_LEVEL) as archive:
        entry = tarfile.TarInfo(MANIFEST)
        entry.size = len(manifest)
        archive.addfile(entry, io.BytesIO(manifest))
        archive.add(kept, FILES)
    return f"{target}: {target.stat().st_size / 1e6:.1f} MB"


def import_cache(settings: Settings, source: Path) -> str:
    """Copy the files of an archive that the kept cache lacks.

    Compiled code runs as the worker: import only archives that you trust.

    Args:
        settings: The resolved configuration.
        source: The archive.

    Returns:
        A line for the user.

    Raises:
        ArchiveError: It was made for something else, or is damaged.
        UnavailableError: No folder is configured that keeps caches.
    """
    kept = _find_folder(settings)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with tarfile.open(source, "r:gz") as archive:
                found = archive.extractfile(MANIFEST)
                if found is None:
                    raise KeyError(MANIFEST)
                compare(orjson.loads(found.read()), describe(settings))
                archive.extractall(folder, filter="data")
        except (OSError, EOFError, KeyError, ValueError, tarfile.TarError) as error:
            raise ArchiveError(f"{source} cannot be read: {error}") from None
        count = CacheMirror(Path(folder, FILES), kept).fetch()
    return f"{kept}: {count} files added"


def describe(settings: Settings, machine: MachineInfo | None = None) -> dict[str, Any]:
    """Return what a cache depends on.

    Args:
        settings: The resolved configuration.
        machine: This machine; None detects it.
    """
    machine = machine or detect_machine({})
    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "gpu": machine.gpu_name,
        "gpus": machine.gpus,
        **versions,
        "arguments": settings.engine_arguments(),
    }


def compare(archived: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Check that an archive fits.

    Raises:
        ArchiveError: It does not; the text names each difference.
    """
    differences = [
        f"{name} was {_show(archived.get(name))} and is {_show(value)} here"
        for name, value in here.items()
        if archived.get(name) != value
    ]
    if differences:
        raise ArchiveError(
            "the archive does not match this machine or these settings: " + "; ".join(differences)
        )


def _show(value: Any) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


def _find_folder(settings: Settings) -> Path:
    if settings.cache is None:
        raise UnavailableError("there is no cache folder: set CACHE_PATH or attach a volume")
    return settings.cache
