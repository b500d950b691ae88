"""Searches an image, every byte of every layer and all that describes it, for a secret."""

from __future__ import annotations

import base64
import json
import mmap
from pathlib import Path

from tests.image.buildah import Buildah


def spellings(secret: str) -> list[bytes]:
    """Return the secret's bytes, and as base64 at each of the three offsets."""
    data = secret.encode()
    found = [data, secret[::-1].encode(), data.hex().encode()]
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + data)
        # The characters at the ends depend on what is next to the secret.
        found.append(encoded[4 if offset else 0 : -4])
    return found


def export(buildah: Buildah, image: str, folder: Path) -> list[Path]:
    """Write the image's layers, uncompressed, its manifest and its configuration to a folder."""
    buildah.ask("push", "--quiet", "--disable-compression", image, f"dir:{folder}")
    return sorted(path for path in folder.iterdir() if path.stat().st_size)


def find(files: list[Path], secret: str) -> list[str]:
    """Return the names of the files that hold the secret."""
    patterns = spellings(secret)
    found = []
    for path in files:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if any(data.find(pattern) >= 0 for pattern in patterns):
                found.append(path.name)
    return found


def read_layer_digests(folder: Path) -> set[str]:
    """Return the names of the layers' files, as the manifest has them."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    return {layer["digest"].removeprefix("sha256:") for layer in manifest["layers"]}
