"""Which files of a repository vLLM loads; the others would only make the image larger."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

TEXT_SUFFIXES = (
    ".jinja",
    ".json",
    ".model",
    ".py",
    ".tiktoken",
    ".txt",
    ".vocab",
    ".yaml",
    ".yml",
)
"""Suffixes of configuration, tokenizer, chat template and a model's own code."""

MODULE_WEIGHTS = re.compile(r"\d+_\w+/(model\.safetensors|pytorch_model\.bin)")
"""Weights of an embedding model's further layers (sentence-transformers)."""

TRAINING_FILES = ("optimizer.*", "scheduler.*", "scaler.*", "training_args.*", "rng_state*")
"""Weights by their suffixes, training state by its names; vLLM skips them too."""


@dataclass(frozen=True, slots=True)
class WeightFamily:
    """One format of weights in a repository.

    Attributes:
        pattern: Names of the files, at the top of the repository.
        index: File that says which of them belong to the model.
    """

    pattern: str
    index: str | None = None


SAFETENSORS = WeightFamily("*.safetensors", "model.safetensors.index.json")
CONSOLIDATED = WeightFamily("consolidated*.safetensors", "consolidated.safetensors.index.json")
BIN, PT = WeightFamily("*.bin"), WeightFamily("*.pt")

FAMILIES: Mapping[str, tuple[WeightFamily, ...]] = {
    "auto": (CONSOLIDATED, SAFETENSORS, BIN, PT),
    "hf": (SAFETENSORS, BIN, PT),
    "bitsandbytes": (SAFETENSORS, BIN, PT),
    "safetensors": (SAFETENSORS,),
    "fastsafetensors": (SAFETENSORS,),
    "instanttensor": (SAFETENSORS,),
    "runai_streamer": (SAFETENSORS,),
    "mistral": (CONSOLIDATED,),
    "npcache": (BIN,),
    "pt": (PT,),
    "dummy": (),
}
"""Load format -> kinds of weight files in vLLM's order of preference. Other formats have their own
layouts; for those, all files are downloaded."""


def find_family(names: Iterable[str], load_format: str) -> WeightFamily | None:
    """Return the kind of weight files that this load format reads; None if there are none."""
    known = list(names)
    for family in FAMILIES.get(load_format, ()):
        if any(_is_weight(name, family) for name in known):
            return family
    return None


def choose_files(
    names: Iterable[str], load_format: str, indexed: frozenset[str] = frozenset()
) -> list[str]:
    """Return the files to download, sorted.

    Args:
        names: All files of the repository.
        load_format: VLLM's option of this name, `auto` unless set.
        indexed: Weight files that the family's index names; empty if there is no index.
    """
    known = sorted(names)
    if load_format not in FAMILIES:
        return known
    family = find_family(known, load_format)
    chosen = [name for name in known if name.endswith(TEXT_SUFFIXES)]
    if family is not None:
        weights = [name for name in known if _is_weight(name, family)]
        chosen += [name for name in weights if name in indexed] or weights
    chosen += _module_weights(known)
    return sorted(set(chosen))


def tokenizer_files(names: Iterable[str]) -> list[str]:
    """Return the files of a repository from which only the tokenizer is wanted."""
    return sorted(name for name in names if name.endswith(TEXT_SUFFIXES))


def find_code_repositories(folder: Path) -> list[str]:
    """Return the other repositories whose code a model's configuration names, sorted.

    Args:
        folder: The model's files.

    Source:
        `transformers.dynamic_module_utils.get_class_from_dynamic_module`: `auto_map` gives a class
        as `module.Class`, or as `org/name--module.Class`.
    """
    found: set[str] = set()
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_bytes())
        except ValueError:
            # vLLM reports the problem if it reads the file.
            continue
        if isinstance(content, dict):
            references = _strings(content.get("auto_map"))
            found |= {text.partition("--")[0] for text in references if "--" in text}
    return sorted(found)


def _strings(value: Any) -> Iterator[str]:
    """Yield every text in nested lists and objects."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _is_weight(name: str, family: WeightFamily) -> bool:
    at_top = "/" not in name and fnmatchcase(name, family.pattern)
    return at_top and not any(fnmatchcase(name, pattern) for pattern in TRAINING_FILES)


def _module_weights(names: Iterable[str]) -> list[str]:
    """Return one weight file for each further layer, safetensors where both are there."""
    by_folder: dict[str, str] = {}
    for name in sorted(names):
        if MODULE_WEIGHTS.fullmatch(name):
            by_folder.setdefault(name.partition("/")[0], name)
    return list(by_folder.values())
