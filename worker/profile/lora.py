"""GPU memory that vLLM reserves for LoRA adapters at start, whether or not any is loaded.

Source:
    vLLM 0.32.0, `create_lora_weights` in `vllm/lora/layers`: each linear layer gets `max_loras`
    pairs of matrices, A of rank x input and B of output x rank, and each expert has its own.
    Tensor parallelism divides B where it divides the layer's output, and A where it divides its
    input; `fully_sharded_loras` divides the other matrix too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

ELEMENT_BYTES = 2
"""Adapters have the type of the model: bfloat16 or float16 with every profile."""

BLOCK_PARAMETERS = 13
COPIED_WIDTHS = 7
DIVIDED_WIDTHS = 13
"""A dense block with grouped-query attention, in units of its width w: about 13 w^2 parameters,
inputs and outputs of 7 w on each GPU and of 13 w divided among them. Exact for Llama 3.1 8B."""


class AdapterWidths(BaseModel):
    """Inputs and outputs of all layers that take an adapter: its elements at rank 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    copied: int = Field(ge=0, description="Elements that each GPU keeps.")
    divided: int = Field(ge=0, description="Elements that tensor parallelism divides.")

    def __str__(self) -> str:
        return f"{self.copied + self.divided:,} elements at rank 1"


@dataclass(frozen=True, slots=True)
class AdapterSlots:
    """Room for adapters.

    Attributes:
        widths: The model's layers.
        slots: Adapters of one batch.
        rank: The highest rank.
        sharded: Whether all matrices are divided among the GPUs.
        estimated: Whether the widths are an estimate.
    """

    widths: AdapterWidths
    slots: int
    rank: int
    sharded: bool = False
    estimated: bool = False

    def gpu_bytes(self, tensor_parallel: int, pipeline_parallel: int) -> int:
        """Return the memory of one GPU, bytes."""
        copied = self.widths.copied / (tensor_parallel if self.sharded else 1)
        elements = (copied + self.widths.divided / tensor_parallel) / pipeline_parallel
        return math.ceil(elements * self.slots * self.rank * ELEMENT_BYTES)


def estimate_widths(parameters: int, layers: int) -> AdapterWidths:
    """Return an estimate for a dense model.

    Args:
        parameters: Parameters without encoders; embeddings, which can take adapters, included.
        layers: Number of its blocks, at least 1.
    """
    total = layers * math.sqrt(parameters / layers / BLOCK_PARAMETERS)
    return AdapterWidths(copied=round(COPIED_WIDTHS * total), divided=round(DIVIDED_WIDTHS * total))
