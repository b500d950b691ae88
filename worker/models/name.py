"""The model's public name: what clients call it, whatever its weights are loaded from."""

from __future__ import annotations

import re
from pathlib import Path

HUB_FOLDER = re.compile(r"models--([^/]+?)--([^/]+)")
"""Folder of one model in Hugging Face's cache: `models--org--name`."""

REMOTE = re.compile(r"^[a-z][a-z0-9+.-]*://")


def served_model_name(model: str) -> str:
    """Return the name under which a model is known when nobody chose one; never a path.

    Args:
        model: A repository id, a local path, or a URL such as `s3://bucket/model`.
    """
    cached = HUB_FOLDER.search(model)
    if cached is not None:
        return f"{cached.group(1)}/{cached.group(2)}"
    is_path = model.startswith(("/", "./", "../", "~")) or REMOTE.match(model)
    if is_path or model.count("/") > 1 or _is_folder(model):
        return Path(model.rstrip("/")).name or model
    return model


def _is_folder(text: str) -> bool:
    try:
        return Path(text).is_dir()
    except OSError:  # Too long for a path.
        return False


def is_repository(model: str) -> bool:
    """Whether a model is named by its repository id, `org/name`, and not by a place."""
    return model.count("/") == 1 and served_model_name(model) == model
