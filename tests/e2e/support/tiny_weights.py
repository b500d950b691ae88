"""Real weights for the tiny model: random, always the same, in two shards with an index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
from safetensors.numpy import save_file

SCALE = 0.05


def write_weights(model: Path) -> None:
    """Put weights into the folder of a tiny model, as a repository on a hub has them."""
    config = json.loads((model / "config.json").read_bytes())
    random = numpy.random.default_rng(0)
    shards: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for number, (name, shape) in enumerate(describe_weights(config).items()):
        tensor = random.normal(0, SCALE, shape) if len(shape) > 1 else numpy.ones(shape)
        shards[number % 2][name] = tensor.astype(numpy.float32)
    index: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file(shard, model / file, metadata={"format": "pt"})
        index |= dict.fromkeys(shard, file)
    text = json.dumps({"metadata": {}, "weight_map": index})
    (model / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def describe_weights(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a Llama by its name."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    weights: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], hidden),
        "model.norm.weight": (hidden,),
    }
    for number in range(config["num_hidden_layers"]):
        for name, shape in {
            "self_attn.q_proj": (queries, hidden),
            "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden),
            "self_attn.o_proj": (hidden, queries),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
        }.items():
            weights[f"model.layers.{number}.{name}.weight"] = shape
    return weights
