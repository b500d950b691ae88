"""Find models on this machine, in caches with Hugging Face's layout.

RunPod's cached models are in such a cache on the mounted volume, with names in lower case. Models
on a network volume or in a base image use the same layout. A complete model is served from its
folder, without requests to the hub, under its public name.

Source:
    https://docs.runpod.io/serverless/endpoints/model-caching;
    https://huggingface.co/docs/huggingface_hub/guides/manage-cache for the layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

VOLUME = Path("/runpod-volume")
HUB = Path("huggingface-cache/hub")
"""Where RunPod puts cached models, below the volume; and the worker, below BASE_PATH."""

CONFIGURATIONS = ("config.json", "params.json")
WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.gguf")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
MAIN = "main"


@dataclass(frozen=True, slots=True)
class CachedSnapshot:
    """A snapshot of a repository in a cache.

    Attributes:
        path: Folder of the snapshot.
        missing: What it lacks, a few names; empty when it is complete.
    """

    path: Path
    missing: tuple[str, ...]


def cache_roots(
    environ: Mapping[str, str], base_path: Path | None, root: Path = Path("/")
) -> list[Path]:
    """Return the caches of this machine, RunPod's own first.

    Args:
        environ: The environment, for the variables of Hugging Face's libraries.
        base_path: BASE_PATH, if it is set.
        root: Root of the file system, for tests.
    """
    roots = [root / VOLUME.relative_to("/") / HUB]
    if base_path is not None:
        roots.append(base_path / HUB)
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environ.get(name):
            roots.append(Path(environ[name]))
    if environ.get("HF_HOME"):
        roots.append(Path(environ["HF_HOME"]) / "hub")
    elif environ.get("HOME"):
        roots.append(Path(environ["HOME"]) / ".cache/huggingface/hub")
    return list(dict.fromkeys(roots))


def find_snapshots(
    repository: str, revision: str | None, roots: Iterable[Path]
) -> Iterator[CachedSnapshot]:
    """Yield the snapshots of a repository, the best first: `refs/main`, then other snapshots.

    Args:
        repository: Id, `org/name`; letters match in any case.
        revision: Branch, tag or commit; None is `main`.
        roots: Caches, in order of preference.
    """
    wanted = f"models--{repository.replace('/', '--')}"
    for root in roots:
        for folder in _folders(root, wanted):
            for snapshot in _snapshots(folder, revision):
                yield CachedSnapshot(snapshot, tuple(_missing(snapshot)))


def _folders(root: Path, wanted: str) -> list[Path]:
    """Return the folders of a repository, the exact name before other spellings."""
    try:
        found = [path for path in root.iterdir() if path.name.lower() == wanted.lower()]
    except OSError:
        return []
    return sorted(found, key=lambda path: (path.name != wanted, path.name))


def _snapshots(folder: Path, revision: str | None) -> list[Path]:
    snapshots = folder / "snapshots"
    commit = _read_ref(folder / "refs" / (revision or MAIN))
    if commit is not None:
        named = snapshots / commit
        return [named] if named.is_dir() else []
    if revision is not None:
        named = snapshots / revision
        return [named] if "/" not in revision and named.is_dir() else []
    return sorted(path for path in snapshots.glob("*") if path.is_dir())


def _read_ref(path: Path) -> str | None:
    try:
        commit = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return commit if commit and "/" not in commit else None


def _missing(snapshot: Path) -> Iterator[str]:
    """Yield what a snapshot lacks of a whole model: configuration, weights, every listed shard."""
    if not any((snapshot / name).is_file() for name in CONFIGURATIONS):
        yield CONFIGURATIONS[0]
    for path in sorted(snapshot.rglob("*")):
        if path.is_symlink() and not path.exists():
            yield path.relative_to(snapshot).as_posix()
    indexes = [snapshot / name for name in INDEXES if (snapshot / name).is_file()]
    for index in indexes[:1]:
        yield from (name for name in _shards(index) if not (snapshot / name).is_file())
    has_weights = any(path.is_file() for pattern in WEIGHTS for path in snapshot.glob(pattern))
    if not indexes and not has_weights:
        yield "weights"


def _shards(index: Path) -> list[str]:
    """Return the files that an index of weights names."""
    try:
        weights = orjson.loads(index.read_bytes())["weight_map"]
        return sorted({str(name) for name in weights.values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [index.name]
