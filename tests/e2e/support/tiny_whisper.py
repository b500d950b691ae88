"""A random speech model that vLLM loads at once: the shape of Whisper, and a byte-level tokenizer.

Serve it with `LOAD_FORMAT=dummy`; what it hears is noise to it.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.support.tiny_model import build_tokenizer

CONTEXT = 448
"""Tokens."""

SPECIAL_TOKENS = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|de|>",
    "<|transcribe|>",
    "<|translate|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
]
END, START = 0, 1


def build_tiny_whisper(directory: Path) -> Path:
    """Put the model into `directory`, which is new, and return it."""
    directory.mkdir(parents=True)
    tokenizer = build_tokenizer(SPECIAL_TOKENS)
    tokenizer.save(str(directory / "tokenizer.json"))
    for name, content in describe_whisper(tokenizer.get_vocab_size()).items():
        (directory / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return directory


def describe_whisper(vocabulary: int) -> dict[str, dict[str, object]]:
    """Return each JSON file of a model with so many tokens, by name."""
    size = {"layers": 1, "attention_heads": 1, "ffn_dim": 64}
    tokens = {"bos_token_id": END, "eos_token_id": END, "decoder_start_token_id": START}
    token = dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), SPECIAL_TOKENS[END])
    return {
        "config.json": {
            "architectures": ["WhisperForConditionalGeneration"],
            "model_type": "whisper",
            "dtype": "bfloat16",
            "d_model": 64,
            **{f"{part}_{key}": n for part in ("encoder", "decoder") for key, n in size.items()},
            "num_hidden_layers": 1,
            "num_mel_bins": 80,
            "max_source_positions": 1500,
            "max_target_positions": CONTEXT,
            "vocab_size": vocabulary,
            "is_encoder_decoder": True,
            "suppress_tokens": [],
            "begin_suppress_tokens": [],
            "pad_token_id": END,
            **tokens,
        },
        "generation_config.json": {
            **tokens,
            "is_multilingual": True,
            "lang_to_id": {"<|en|>": 2, "<|de|>": 3},
            "task_to_id": {"transcribe": 4, "translate": 5},
            "no_timestamps_token_id": 8,
        },
        "preprocessor_config.json": {
            "feature_extractor_type": "WhisperFeatureExtractor",
            "processor_class": "WhisperProcessor",
            "feature_size": 80,
            "sampling_rate": 16_000,
            "hop_length": 160,
            "chunk_length": 30,
            "n_fft": 400,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "WhisperTokenizer",
            **token,
            "model_max_length": CONTEXT,
            "clean_up_tokenization_spaces": False,
        },
    }
