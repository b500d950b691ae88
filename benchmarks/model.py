"""The model that is served: the tests' tiny one, or a larger random one where a GPU is found."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

SOURCE = Path(__file__).parent.parent / "tests" / "e2e" / "tiny_model.py"
"""Makes a tokenizer and a random Llama in a second."""

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
