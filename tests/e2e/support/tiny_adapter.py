"""A LoRA adapter for the tiny model of text and images: random, and too strong to be overlooked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
from safetensors.numpy import save_file

RANK = 8
SCALE = 1.0
"""Far above the model's own random weights."""

LAYERS = "base_model.model.language_model.model.decoder.layers"
MODULE = "fc2"


def build_tiny_adapter(directory: Path, model: Path) -> Path:
    """Put an adapter for the model in folder `model` into `directory`, which is new."""
    directory.mkdir(parents=True)
    text = json.loads((model / "config.json").read_bytes())["text_config"]
    random = numpy.random.default_rng(0)
    tensors: dict[str, Any] = {}
    for number in range(text["num_hidden_layers"]):
        shapes = {"A": (RANK, text["ffn_dim"]), "B": (text["hidden_size"], RANK)}
        for part, shape in shapes.items():
            name = f"{LAYERS}.{number}.{MODULE}.lora_{part}.weight"
            tensors[name] = random.normal(0, SCALE, shape).astype(numpy.float32)
    save_file(tensors, directory / "adapter_model.safetensors", metadata={"format": "pt"})
    description = {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": RANK,
        "target_modules": [MODULE],
    }
    (directory / "adapter_config.json").write_text(json.dumps(description), encoding="utf-8")
    return directory
