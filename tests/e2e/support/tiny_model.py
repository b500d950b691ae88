"""A model that vLLM loads at once, made here in a second and without network.

A random Llama (its weights are vLLM's own, `load_format=dummy`) with a byte-level tokenizer: any
text in any script goes through it byte by byte, and characters outside ASCII are always several
tokens; a careless stream would cut them.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

MAX_MODEL_LEN = 2048
"""Tokens."""

VOCABULARY = 384
END, TURN_START, TURN_END = SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
THINKING = ["<think>", "</think>"]
"""Tokens around the thoughts of a reasoning model."""

QWEN3 = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}
"""The same shape as a family that vLLM gives more to do."""

CLASSIFIER = {
    "architectures": ["LlamaForSequenceClassification"],
    "id2label": {"0": "relevant"},
    "label2id": {"relevant": 0},
}
"""A model that tells how well one class fits, as rerankers do."""

# Plain ASCII: the trainer learns merges for it and none for other scripts.
TEXT = """
A job comes from the queue, the worker hands it to the engine, and the answer goes back in pieces.
Each piece is one or more whole events, and an event is never cut, nor is a character inside it.
The capital of France is Paris. The quick brown fox jumps over the lazy dog, and then it rests.
"""

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tiny_model(
    directory: Path,
    *,
    chat_template: bool = True,
    thinking: bool = False,
    changes: Mapping[str, object] | None = None,
    words: Sequence[str] = (),
) -> Path:
    """Put the model into `directory`, unless it is there, and return `directory`.

    Serve it with `LOAD_FORMAT=dummy`. The same bytes every time; safe for two runs at once.

    Args:
        directory: Its last part becomes the served name.
        chat_template: Whether chat works; without one vLLM refuses a chat request.
        thinking: Whether the model knows the tokens around thoughts, and its prompt opens them.
        changes: What its `config.json` has instead, e.g. `QWEN3`.
        words: Texts that are one token each.
    """
    if (directory / "config.json").exists():
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as temporary:
        model = Path(temporary, "model")
        model.mkdir()
        tokenizer = build_tokenizer()
        known = [*(THINKING if thinking else ()), *words]
        tokenizer.add_tokens([AddedToken(text, normalized=False) for text in known])
        tokenizer.save(str(model / "tokenizer.json"))
        files = describe_model(tokenizer.get_vocab_size())
        files["config.json"] |= changes or {}
        for name, content in files.items():
            (model / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        if chat_template:
            template = CHAT_TEMPLATE + (THINKING[0] if thinking else "")
            (model / "chat_template.jinja").write_text(template, encoding="utf-8")
        shutil.rmtree(directory, ignore_errors=True)
        model.rename(directory)
    return directory


def build_tokenizer(special_tokens: Sequence[str] = SPECIAL_TOKENS) -> Tokenizer:
    """Return a byte-level BPE tokenizer that knows all 256 bytes, the special tokens first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT.splitlines(), trainer)
    # As most tokenizers do: a plain prompt gets a first token, which a chat template writes itself.
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{special_tokens[0]} $A", special_tokens=[(special_tokens[0], 0)]
    )
    return tokenizer


def describe_model(vocabulary: int) -> dict[str, dict[str, object]]:
    """Return each JSON file of a model with so many tokens, by name."""
    end = SPECIAL_TOKENS.index(TURN_END)
    return {
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "dtype": "bfloat16",
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 64,
            "max_position_embeddings": MAX_MODEL_LEN,
            "vocab_size": vocabulary,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
            "tie_word_embeddings": True,
            "bos_token_id": SPECIAL_TOKENS.index(END),
            "eos_token_id": end,
            "pad_token_id": end,
        },
        "generation_config.json": {"bos_token_id": 0, "eos_token_id": end, "pad_token_id": end},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": END,
            "eos_token": TURN_END,
            "pad_token": TURN_END,
            "model_max_length": MAX_MODEL_LEN,
            "clean_up_tokenization_spaces": False,
        },
    }
