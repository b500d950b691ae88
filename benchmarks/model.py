"""The served model: the tiny one of the tests, or a random one of a given shape."""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Literal

from tokenizers import Tokenizer, models

SOURCE = Path(__file__).parent.parent / "tests" / "e2e" / "support" / "tiny_model.py"
"""Builds a tokenizer and a random Llama within a second."""

GPU_SHAPE = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
}
"""A Llama of 106 million parameters, the size of the smallest models that people serve: an engine
that makes tokens fast is transport's worst case."""

Size = Literal["8b", "1b", "cpu"]

SIZES: dict[Size, dict[str, object]] = {
    "8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "tie_word_embeddings": False,
    },
    "1b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
    },
    "cpu": {
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 10,
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
        "head_dim": 64,
    },
}
"""Llama 3's shapes of 8 and 1 billion parameters, and one that takes 20 to 50 ms per token on two
cores."""

VOCABULARY = 128_256
"""Llama 3's. Where a tokenizer knows few tokens, random prompts repeat each other, and a prefix
cache would answer them."""

SYLLABLES = [a + b for a in "bcdfghjklmnpqrstvwxyz" for b in "aeiou"]


def build_sized_model(directory: Path, size: Size, *, max_model_len: int) -> Path:
    """Put a model of one of `SIZES` and a tokenizer of `VOCABULARY` tokens into `directory`."""
    changes = SIZES[size] | {"vocab_size": VOCABULARY, "max_position_embeddings": max_model_len}
    model: Path = _import_builder().build_tiny_model(directory, changes=changes)
    path = str(model / "tokenizer.json")
    grow_tokenizer(Tokenizer.from_file(path)).save(path)
    return model


def grow_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """Give a byte-level BPE tokenizer words of up to three syllables, `VOCABULARY` tokens in all.

    A text of its words is encoded into the tokens that it was decoded from. A random prompt then
    has the length that was asked for.
    """
    known = {
        token: number
        for token, number in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
        if len(token) == 1 or token.startswith("<|")
    }
    merges = itertools.islice(_merge_syllables(), VOCABULARY - len(known))
    pairs = list(merges)
    names = [*known, *(first + second for first, second in pairs)]
    tokenizer.model = models.BPE({name: number for number, name in enumerate(names)}, pairs)
    return tokenizer


def _merge_syllables() -> Iterator[tuple[str, str]]:
    """Yield what byte-level BPE merges, in order; `Ġ` is its space."""
    yield from ((syllable[0], syllable[1]) for syllable in SYLLABLES)
    words = ["Ġ"]
    while True:
        pairs = list(itertools.product(words, SYLLABLES))
        yield from pairs
        words = [first + second for first, second in pairs]


def build_model(directory: Path, *, gpu: bool, max_model_len: int) -> Path:
    """Put a model with random weights (`load_format=dummy`) into `directory` and return it."""
    model: Path = _import_builder().build_tiny_model(directory)
    config = model / "config.json"
    shape = json.loads(config.read_text(encoding="utf-8"))
    shape |= {"max_position_embeddings": max_model_len} | (GPU_SHAPE if gpu else {})
    config.write_text(json.dumps(shape, indent=2) + "\n", encoding="utf-8")
    return model


def _import_builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_model", SOURCE)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{SOURCE} is not there; run from a full checkout")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
