"""Random weights for a tiny model of any kind, always the same, large enough for it to care.

vLLM's own (`load_format=dummy`) are so small that every token is as likely as any other, whatever
was asked. Run as a program, to keep transformers out of other processes: FOLDER of the model.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForImageTextToText

SCALE = 0.3


def write_random_weights(model: Path) -> None:
    """Put weights into the folder of a model."""
    torch.manual_seed(0)
    network = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(model))
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, SCALE)
    # Tied weights under each of their names: which of them vLLM reads differs by model.
    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    write_random_weights(Path(sys.argv[1]))
