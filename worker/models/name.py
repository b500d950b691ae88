"""Names of models: accepted spellings, their meaning, and the public name.

A form that has one meaning is accepted and reported; a form that may mean two things is refused
with what to write.

Source:
    `huggingface_hub.utils.validate_repo_id`, for the rules of a repository id.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from worker.validation_errors import invalid_value

PATH_STARTS = ("/", "./", "../", "~")
"""How a model that can only be a local path begins."""

STORES = ("s3", "gs", "az")
"""URL schemes that vLLM streams weights from."""

HUB_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co", "www.hf.co"})
HUB_PAGES = ("tree", "blob", "resolve", "raw", "commit")
"""Parts of a hub address between id and revision."""

REPOSITORY = re.compile(r"(\b[\w.-]+\b/)?\b[\w.-]{1,96}\b", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{7,40}")
REFERENCE = re.compile(r"main|master|refs/[\w./-]+|v\d[\w.-]*")
"""Revisions that nothing else looks like."""

GGUF_NAME = re.compile(r"[-_.]gguf$", re.IGNORECASE)
GGUF_INSTEAD = "the model's own repository, with safetensors weights"
EXPECTED = "a repository id such as org/name, or a folder in this container"

HUB_FOLDER = re.compile(r"models--([^/]+?)--([^/]+)")
"""Folder of one model in Hugging Face's cache: `models--org--name`."""


@dataclass(frozen=True, slots=True)
class ModelName:
    """What a written name means.

    Attributes:
        name: Repository id, path or URL of an object store.
        revision: Branch, tag or commit that the written form names too.
        is_rewritten: Whether the written form was another one.
    """

    name: str
    revision: str | None = None
    is_rewritten: bool = False


def read_model_name(text: str) -> ModelName:
    """Return what `text` means.

    Raises:
        PydanticCustomError: It is not the name of a model, or is ambiguous.
    """
    bare = _unquote(text)
    if bare.count("/") == 2 and not bare.startswith(PATH_STARTS):
        bare = bare.removesuffix("/")
    scheme, separator, rest = bare.partition("://")
    if separator and scheme.lower() in STORES:
        return ModelName(bare, None, bare != text)
    if separator:
        found = _read_url(scheme.lower(), bare, rest)
    elif bare.lower().split("/", 1)[0] in HUB_HOSTS:
        found = _read_hub_path(bare.split("/", 1)[1] if "/" in bare else "")
    elif bare.startswith(PATH_STARTS) or bare.count("/") > 1:
        return ModelName(bare, None, bare != text)
    else:
        found = _read_id(bare)
    _check_id(found.name)
    return ModelName(found.name, found.revision, found.name != text)


def _unquote(text: str) -> str:
    """Return `text` without the quotes around it, which a shell would have removed."""
    bare = text.strip()
    while len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'`":
        bare = bare[1:-1].strip()
    return bare


def _read_url(scheme: str, url: str, rest: str) -> ModelName:
    if scheme == "hf":
        return _read_hub_path(rest)
    if scheme not in ("http", "https"):
        stores = ", ".join(f"{name}://" for name in STORES)
        raise invalid_value(f"{scheme}:// is not supported for models", f"{EXPECTED}, or {stores}")
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
    except ValueError:
        raise invalid_value("not a valid URL", EXPECTED) from None
    if host not in HUB_HOSTS:
        raise invalid_value("a web address that is not the Hugging Face hub", EXPECTED)
    return _read_hub_path(unquote(parts.path))


def _read_hub_path(path: str) -> ModelName:
    """Read what follows the hub's host: `org/name`, and maybe `/tree/REVISION`, `@REVISION`."""
    parts = [part for part in path.split("/") if part]
    if parts and parts[0] in ("datasets", "spaces"):
        raise invalid_value(f"one of the hub's {parts[0]}, not a model", EXPECTED)
    if parts and parts[0] == "models":
        parts = parts[1:]
    if len(parts) < 2:
        raise invalid_value("names no repository", EXPECTED)
    found = _read_id("/".join(parts[:2]).removesuffix(".git"))
    if len(parts) == 2:
        return found
    if parts[2] not in HUB_PAGES or len(parts) < 4:
        raise invalid_value("not the address of a model's page", EXPECTED)
    if parts[2] != "tree" and parts[2] != "commit" and len(parts) > 4:
        raise invalid_value("the address of one file", f"MODEL_NAME={found.name}")
    return ModelName(found.name, "/".join(parts[3:]))


def _read_id(text: str) -> ModelName:
    """Read `org/name`, `org/name@revision` and `org/name:revision`."""
    name, at, revision = text.partition("@")
    if at and revision and "/" in name:
        return ModelName(name, revision)
    name, colon, revision = text.partition(":")
    if not colon:
        return ModelName(text)
    if "/" in name and (COMMIT.fullmatch(revision) or REFERENCE.fullmatch(revision)):
        return ModelName(name, revision)
    if "/" in name and revision:
        wanted = f"{name}, and the revision {revision!r} in MODEL_REVISION if it is one"
        raise invalid_value("the text after the colon is not a commit, main or a version", wanted)
    raise invalid_value("a repository id has no colon", EXPECTED)


def _check_id(name: str) -> None:
    """Check a repository id by the hub's rules.

    Raises:
        PydanticCustomError: The hub refuses it.
    """
    if re.search(r"\s", name):
        plain = re.sub(r"\s*([/-])\s*", r"\1", name)
        joined = dict.fromkeys(re.sub(r"\s+", by, plain) for by in ("-", ""))
        near = tuple(text for text in joined if REPOSITORY.fullmatch(text))
        raise invalid_value("a repository id has no spaces", EXPECTED, near)
    if "\\" in name:
        raise invalid_value("a path of Windows", EXPECTED)
    if not REPOSITORY.fullmatch(name) or "--" in name or ".." in name:
        raise invalid_value("not a repository id", EXPECTED)
    if name.endswith(".git"):
        raise invalid_value("a repository id does not end with .git", name.removesuffix(".git"))


def is_gguf_name(name: str) -> bool:
    """Whether a file or repository is named as those that hold GGUF weights only."""
    return bool(GGUF_NAME.search(PurePosixPath(name).name))


def exists(path: str | Path) -> bool:
    """Whether a path exists; one that cannot exist (too long, a null byte) does not."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def is_path(text: str) -> bool:
    """Whether a text that names a repository or a folder can only be a folder."""
    return "://" not in text and (text.startswith(PATH_STARTS) or text.count("/") > 1)


def served_model_name(model: str) -> str:
    """Return the default public name of a model; never a path.

    Args:
        model: A repository id, a local path, or a URL such as `s3://bucket/model`.
    """
    cached = HUB_FOLDER.search(model)
    if cached is not None:
        return f"{cached.group(1)}/{cached.group(2)}"
    if is_path(model) or "://" in model or (exists(model) and Path(model).is_dir()):
        return Path(model.rstrip("/")).name or model
    return model


def is_repository(model: str) -> bool:
    """Whether a model is named by its repository id, `org/name`, and not by a path."""
    return model.count("/") == 1 and served_model_name(model) == model
