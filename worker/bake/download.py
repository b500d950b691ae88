"""One repository from the hub: exactly the chosen files, resumable, verified by their checksums."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub import errors as hub_errors
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from worker.bake.selection import choose_files, find_family, tokenizer_files
from worker.errors import UnavailableError
from worker.models.image_manifest import ManifestEntry

HTTPError: type[Exception] = vars(hub_errors)["HTTPError"]
"""Root of the errors of the hub library's HTTP client, which differs between its releases."""

CHUNK_BYTES = 8 * 1024 * 1024
DOWNLOADS = 8
"""Concurrent downloads."""

HASHERS = 4
"""Concurrent checksums; hashing releases the GIL."""

SPARE_BYTES = 256 * 1024 * 1024
"""Free disk space that the download leaves."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to fetch.

    Attributes:
        repo: Repository id.
        revision: Branch, tag or commit; None is the repository's main branch.
        load_format: Decides which weights are fetched; None fetches the tokenizer only.
        only: Suffixes of the files to fetch instead; empty leaves it to the load format.
    """

    repo: str
    revision: str | None
    load_format: str | None
    only: tuple[str, ...] = ()


class Hub:
    """The model hub, and the cache folder that it fills.

    Args:
        cache: Folder in the layout of Hugging Face's cache.
        token: Access token; None reads public repositories only.
        endpoint: The hub's address; None is Hugging Face's own, or HF_ENDPOINT.
        say: Called with each line of progress.
    """

    def __init__(
        self,
        cache: Path,
        token: str | None,
        *,
        endpoint: str | None = None,
        say: Callable[[str], None],
    ) -> None:
        # False, not None, which would use a token of the build machine.
        self._api = HfApi(endpoint=endpoint, token=token or False)
        self._cache = cache
        self._say = say

    def fetch(self, wanted: Wanted) -> ManifestEntry:
        """Download and verify; files that an earlier run has finished are skipped.

        Raises:
            UnavailableError: With the reason and what to do about it.
        """
        try:
            return self._fetch(wanted)
        except GatedRepoError:
            raise UnavailableError(
                f"{wanted.repo} is gated: accept its licence on its page, and pass a token of that "
                "account as the build secret HF_TOKEN"
            ) from None
        except RevisionNotFoundError:
            raise UnavailableError(
                f"{wanted.repo} has no revision {wanted.revision!r}: check MODEL_REVISION and "
                "TOKENIZER_REVISION"
            ) from None
        except (RepositoryNotFoundError, HFValidationError):
            raise UnavailableError(
                f"the hub has no repository {wanted.repo!r}: check MODEL_NAME (org/name) and "
                "TOKENIZER_NAME; a private one needs the build secret HF_TOKEN"
            ) from None
        except (HTTPError, LocalEntryNotFoundError) as error:
            raise UnavailableError(
                f"{wanted.repo}: the download failed ({type(error).__name__}). Run the same "
                "again: what has arrived is kept"
            ) from None
        except OSError as error:
            raise UnavailableError(
                f"{wanted.repo}: cannot be written below {self._cache}: {error.strerror or error}"
            ) from None

    def _fetch(self, wanted: Wanted) -> ManifestEntry:
        info = self._api.model_info(wanted.repo, revision=wanted.revision)
        commit = str(info.sha)
        tree = self._api.list_repo_tree(wanted.repo, recursive=True, revision=commit)
        files = {item.path: item for item in tree if isinstance(item, RepoFile)}
        names = self._choose(wanted, commit, files.keys())
        size = sum(files[name].size for name in names)
        self._check_disk(size)
        amount = f"{len(names)} of {len(files)} files, {size / 1e9:.3g} GB"
        self._say(f"{wanted.repo} at {commit[:12]}: {amount}")
        path = Path(
            self._api.snapshot_download(
                wanted.repo,
                # By the branch's name, because the cache then also records the branch's commit.
                revision=wanted.revision or "main",
                cache_dir=self._cache,
                allow_patterns=names,
                max_workers=DOWNLOADS,
            )
        )
        if path.name != commit:
            raise UnavailableError(f"{wanted.repo} changed during the download; run the same again")
        self._verify(wanted, path, [files[name] for name in names])
        return ManifestEntry(
            repo=wanted.repo,
            revision=wanted.revision,
            commit=commit,
            path=path,
            files=len(names),
            size_bytes=size,
        )

    def _choose(self, wanted: Wanted, commit: str, names: Iterable[str]) -> list[str]:
        known = list(names)
        if wanted.only:
            return sorted(name for name in known if name.endswith(wanted.only))
        if wanted.load_format is None:
            return tokenizer_files(known)
        family = find_family(known, wanted.load_format)
        indexed: frozenset[str] = frozenset()
        if family is not None and family.index in known:
            index = self._api.hf_hub_download(
                wanted.repo, family.index, revision=commit, cache_dir=self._cache
            )
            weights = json.loads(Path(index).read_bytes()).get("weight_map", {})
            indexed = frozenset(weights.values())
            if missing := sorted(indexed - set(known)):
                raise UnavailableError(
                    f"{wanted.repo} is incomplete on the hub: its index names {missing[0]}, which "
                    "is not there"
                )
        return choose_files(known, wanted.load_format, indexed)

    def _check_disk(self, size: int) -> None:
        self._cache.mkdir(parents=True, exist_ok=True)
        there = sum(p.stat().st_size for p in self._cache.rglob("*") if not p.is_symlink())
        free = shutil.disk_usage(self._cache).free
        if size - there > free - SPARE_BYTES:
            raise UnavailableError(
                f"{self._cache} has {free / 1e9:.3g} GB free, the model needs {size / 1e9:.3g} GB"
            )

    def _verify(self, wanted: Wanted, path: Path, files: Sequence[RepoFile]) -> None:
        """Compare every file with the hub's checksum; a damaged one is deleted."""
        with ThreadPoolExecutor(HASHERS) as pool:
            sound = list(pool.map(lambda file: is_sound(path / file.path, file), files))
        damaged = [file.path for file, good in zip(files, sound, strict=True) if not good]
        for name in damaged:
            # The blob too: without the link alone, the next run would use the damaged blob.
            (path / name).resolve().unlink(missing_ok=True)
            (path / name).unlink(missing_ok=True)
        if damaged:
            raise UnavailableError(
                f"{wanted.repo}: {', '.join(damaged[:3])} arrived damaged and was deleted; run the "
                "same again"
            )
        self._say(f"{wanted.repo}: {len(files)} files verified")


def is_sound(path: Path, file: RepoFile) -> bool:
    """Return whether a local file has the size and the checksum that the hub lists."""
    try:
        if path.stat().st_size != file.size:
            return False
    except OSError:
        return False
    if file.lfs is not None:
        digest, expected = hashlib.sha256(), file.lfs.sha256
    else:
        # Git's object id of a file.
        digest, expected = hashlib.sha1(usedforsecurity=False), file.blob_id
        digest.update(f"blob {file.size}\0".encode())
    with path.open("rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest() == expected
