"""LoRA adapters for the tiny models: random, and too strong to be overlooked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
from safetensors.numpy import save_file

RANK = 8
SCALE = 1.0
"""Far above the model's own random weights."""
TEXT_SCALE = 100.0
"""The norms of the text model are as small as its weights, and so is what reaches an adapter."""


def build_tiny_adapter(directory: Path, model: Path) -> Path:
    """Put an adapter for the model of text and images in folder `model` into `directory`."""
    text = json.loads((model / "config.json").read_bytes())["text_config"]
    return write_adapter(
        directory,
        [
            f"language_model.model.decoder.layers.{number}.fc2"
            for number in range(text["num_hidden_layers"])
        ],
        (text["ffn_dim"], text["hidden_size"]),
    )


def build_text_adapter(
    directory: Path,
    model: Path,
    *,
    seed: int = 0,
    rank: int = RANK,
    inputs: int | None = None,
    module: str = "self_attn.o_proj",
) -> Path:
    """Put an adapter for the tiny text model in folder `model` into `directory`.

    Args:
        directory: It must not exist.
        model: Folder of the model.
        seed: Another one makes another adapter.
        rank: Rank of its matrices.
        inputs: Width of its matrices, if it is not the model's.
        module: What it changes in each layer.
    """
    config = json.loads((model / "config.json").read_bytes())
    return write_adapter(
        directory,
        [f"model.layers.{number}.{module}" for number in range(config["num_hidden_layers"])],
        (inputs or config["num_attention_heads"] * config["head_dim"], config["hidden_size"]),
        seed=seed,
        rank=rank,
        scale=TEXT_SCALE,
    )


def write_adapter(
    directory: Path,
    modules: Sequence[str],
    shape: tuple[int, int],
    *,
    seed: int = 0,
    rank: int = RANK,
    scale: float = SCALE,
) -> Path:
    """Write an adapter of `modules`, each with these numbers of inputs and outputs."""
    directory.mkdir(parents=True)
    random = numpy.random.default_rng(seed)
    tensors: dict[str, Any] = {}
    for module in modules:
        for part, size in {"A": (rank, shape[0]), "B": (shape[1], rank)}.items():
            name = f"base_model.model.{module}.lora_{part}.weight"
            tensors[name] = random.normal(0, scale, size).astype(numpy.float32)
    save_file(tensors, directory / "adapter_model.safetensors", metadata={"format": "pt"})
    description = {
        "peft_type": "LORA",
        "base_model_name_or_path": "org/base",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": sorted({module.rpartition(".")[2] for module in modules}),
    }
    (directory / "adapter_config.json").write_text(json.dumps(description), encoding="utf-8")
    return directory
