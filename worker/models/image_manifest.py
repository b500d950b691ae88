"""The manifest of the model in the image, which `worker bake` writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from worker.errors import Problem

ANCHOR = "configuration.md#baked_file"


class ManifestEntry(BaseModel):
    """One repository in the image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repo: str = Field(description="Repository id, as requested.", min_length=1)
    revision: str | None = Field(None, description="Requested branch, tag or commit.")
    commit: str = Field(description="Commit of the files.", min_length=1)
    path: Path = Field(description="Folder with the files.")
    files: int = Field(description="Files that were verified, count.", ge=1)
    size_bytes: int = Field(description="Their total size, bytes.", ge=0)

    def is_meant(self, name: str, revision: str | None) -> bool:
        """Return whether a setting refers to this repository."""
        if name.casefold() not in (self.repo.casefold(), str(self.path).casefold()):
            return False
        return revision is None or revision in (self.revision or "main", self.commit)


class ImageManifest(BaseModel):
    """The manifest: a JSON file next to the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = Field(1, description="Version of this format.")
    model: ManifestEntry = Field(description="The model.")
    tokenizer: ManifestEntry | None = Field(
        None, description="The tokenizer, if it is another repo."
    )
    code: tuple[ManifestEntry, ...] = Field(
        (), description="Further repositories with code that the model's configuration names."
    )
    profile: str | None = Field(None, description="Profile that the image starts from.")
    settings: Mapping[str, str] = Field({}, description="Further settings by their variable.")


def read_manifest(path: Path) -> ImageManifest | Problem | None:
    """Return the image's manifest, None if nothing was baked.

    Args:
        path: The manifest.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        return Problem("BAKED_FILE", f"cannot be read: {error.strerror}", str(path), anchor=ANCHOR)
    try:
        return ImageManifest.model_validate_json(text)
    except pydantic.ValidationError:
        return Problem(
            "BAKED_FILE",
            "not a manifest of this worker",
            str(path),
            "the file that `worker bake` writes; build the image again",
            anchor=ANCHOR,
        )
