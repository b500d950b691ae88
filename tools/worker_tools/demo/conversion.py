"""Convert GGUF to bfloat16 safetensors, configuration, tokenizer and chat template for vLLM.

Run as a separate process, `python -m worker_tools.demo.conversion SOURCE DIRECTORY`: torch and
transformers take seconds to import and gigabytes of memory, which the process returns when it ends.
It needs no network, because the file holds everything.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from worker.engine.parent_death import die_with_parent


def convert_gguf(source: Path, directory: Path) -> None:
    """Write the model in `source`, a GGUF file of the Llama family, to `directory`.

    Every tensor is dequantized to bfloat16.
    """
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    print("Reading and dequantizing the weights", flush=True)
    model = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    print("Writing safetensors, configuration and tokenizer", flush=True)
    model.save_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    # The GGUF file names the pre-tokenizer "smollm": single digits, then GPT-2's rule. transformers
    # always uses GPT-2's, which splits spaces before a number differently from training.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.save_pretrained(directory)
    # save_pretrained lets only the owner read the weights, but a container may have another user.
    for file in directory.iterdir():
        file.chmod(0o644)


def main() -> None:
    """Convert the file that the command line names."""
    die_with_parent()
    warnings.simplefilter("ignore")
    convert_gguf(Path(sys.argv[1]), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
