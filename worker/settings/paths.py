"""Looks for what settings name on this machine: files, folders, adapters, weights."""

from __future__ import annotations

from pathlib import Path

from worker.settings.model_name import PATH_STARTS

CONFIGURATIONS = ("config.json", "params.json")
"""One of these makes a folder a model: Hugging Face's form, Mistral's."""

GGUF = "*.gguf"
WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth")
ADAPTER = "adapter_config.json"


def exists(path: str | Path) -> bool:
    """Whether a path exists; one that cannot exist (too long, a null byte) does not."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def is_path(text: str) -> bool:
    """Whether a text that names a repository or a folder can only be a folder."""
    return "://" not in text and (text.startswith(PATH_STARTS) or text.count("/") > 1)


def find_model_fault(text: str, *, needs_config: bool = True) -> str | None:
    """Return what is wrong with a model's folder, None where nothing is.

    Args:
        text: Path of the folder or file.
        needs_config: Whether the folder itself must hold the configuration.
    """
    path = Path(text)
    if not exists(path):
        return "no such folder"
    if path.is_file():
        return "a GGUF file, which this vLLM cannot load" if path.match(GGUF) else None
    others = any(next(path.glob(pattern), None) for pattern in WEIGHTS)
    if not others and next(path.glob(GGUF), None) is not None:
        return "this folder holds GGUF weights only, which this vLLM cannot load"
    if not needs_config or any((path / name).is_file() for name in CONFIGURATIONS):
        return None
    return "this folder holds no model: it has no config.json"


def find_adapter_fault(text: str) -> str | None:
    """Return what is wrong with a LoRA adapter's folder; a repository id is not looked for."""
    path = Path(text).expanduser() if text.startswith("~") else Path(text)
    if not is_path(text) and not exists(path):
        return None
    if not exists(path):
        return "no such folder"
    return None if (path / ADAPTER).is_file() else f"this folder has no {ADAPTER}"
