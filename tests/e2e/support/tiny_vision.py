"""A random model for text and images that vLLM loads at once: the shape of BLIP-2 with OPT.

Serve it with `LOAD_FORMAT=dummy`; what it sees is noise to it.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.support.tiny_model import (
    CHAT_TEMPLATE,
    SPECIAL_TOKENS,
    build_tokenizer,
    describe_model,
)

IMAGE = "<image>"
IMAGE_TOKENS = 4
PIXELS = 28
CONTEXT = 1024
"""Tokens."""


def build_tiny_vision(directory: Path) -> Path:
    """Put the model into `directory`, which is new, and return it."""
    directory.mkdir(parents=True)
    tokenizer = build_tokenizer([*SPECIAL_TOKENS, IMAGE])
    tokenizer.save(str(directory / "tokenizer.json"))
    vocabulary = tokenizer.get_vocab_size()
    files = describe_model(vocabulary) | describe_vision(vocabulary)
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    return directory


def describe_vision(vocabulary: int) -> dict[str, dict[str, object]]:
    """Return the JSON files that differ from those of the text model."""
    size = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1}
    image = {
        "image_processor_type": "BlipImageProcessor",
        "size": {"height": PIXELS, "width": PIXELS},
    }
    return {
        "config.json": {
            "architectures": ["Blip2ForConditionalGeneration"],
            "model_type": "blip-2",
            "dtype": "bfloat16",
            "num_query_tokens": IMAGE_TOKENS,
            "image_token_index": len(SPECIAL_TOKENS),
            "vision_config": {
                "model_type": "blip_2_vision_model",
                **size,
                "num_attention_heads": 1,
                "image_size": PIXELS,
                "patch_size": 14,
            },
            "qformer_config": {
                "model_type": "blip_2_qformer",
                **size,
                "num_attention_heads": 1,
                "encoder_hidden_size": 64,
                "vocab_size": vocabulary,
            },
            "text_config": {
                "model_type": "opt",
                "architectures": ["OPTForCausalLM"],
                "dtype": "bfloat16",
                "hidden_size": 64,
                "word_embed_proj_dim": 64,
                "ffn_dim": 64,
                "num_hidden_layers": 1,
                "num_attention_heads": 1,
                "max_position_embeddings": CONTEXT,
                "vocab_size": vocabulary,
                "bos_token_id": 0,
                "eos_token_id": 2,
                "pad_token_id": 2,
            },
        },
        "preprocessor_config.json": image,
        "processor_config.json": {
            "processor_class": "Blip2Processor",
            "image_processor": image,
            "num_query_tokens": IMAGE_TOKENS,
        },
    }
