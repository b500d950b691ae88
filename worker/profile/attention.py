"""Kinds of attention, and what a layer of each kind keeps in the cache."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Layers = Annotated[int, Field(ge=1, le=1000, description="Layers of this kind, count.")]
Heads = Annotated[
    int, Field(ge=1, le=1024, description="Key-value heads of one layer, over all GPUs, count.")
]
HeadSize = Annotated[int, Field(ge=1, le=8192, description="Elements of one head.")]


class Attention(BaseModel):
    """Layers of one kind. Most models have one kind of layer; hybrid models have several."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FullAttention(Attention):
    """Keeps the key and value of every token: multi-head and grouped-query attention."""

    kind: Literal["full"] = Field("full", description="Keeps all tokens.")
    layers: Layers
    kv_heads: Heads
    head_size: HeadSize

    def __str__(self) -> str:
        return f"{self.layers} layers of {self.kv_heads} KV heads of {self.head_size}"


class SlidingWindowAttention(Attention):
    """Keeps the last `window` tokens."""

    kind: Literal["sliding"] = Field(description="Keeps the last `window` tokens.")
    layers: Layers
    kv_heads: Heads
    head_size: HeadSize
    window: int = Field(ge=1, description="Size of the window, tokens.")

    def __str__(self) -> str:
        heads = f"{self.kv_heads} KV heads of {self.head_size}"
        return f"{self.layers} layers of {heads} with a window of {self.window}"


class LatentAttention(Attention):
    """Keeps one compressed vector per token (MLA); each GPU holds the whole vector."""

    kind: Literal["latent"] = Field(description="Keeps one compressed vector per token (MLA).")
    layers: Layers
    width: int = Field(
        ge=1, le=8192, description="Elements of the vector: latent rank plus rotary part."
    )

    def __str__(self) -> str:
        return f"{self.layers} layers with a latent vector of {self.width}"


class LinearAttention(Attention):
    """Keeps a state of fixed size per request (Mamba, gated delta networks)."""

    kind: Literal["recurrent"] = Field(description="Keeps a state of fixed size per request.")
    layers: Layers
    state_bytes: int = Field(ge=1, description="State of one layer and request, bytes.")

    def __str__(self) -> str:
        return f"{self.layers} recurrent layers with a state of {self.state_bytes:,} bytes"


class CrossAttention(Attention):
    """Keeps the keys and values of an encoder's output, once per request."""

    kind: Literal["cross"] = Field(description="Keeps the encoder's output, once per request.")
    layers: Layers
    kv_heads: Heads
    head_size: HeadSize
    tokens: int = Field(ge=1, description="Length of the encoder's output, tokens.")

    def __str__(self) -> str:
        heads = f"{self.kv_heads} KV heads of {self.head_size}"
        return f"{self.layers} layers of {heads} over {self.tokens} encoder positions"


AnyAttention = Annotated[
    FullAttention | SlidingWindowAttention | LatentAttention | LinearAttention | CrossAttention,
    Field(discriminator="kind", description="Layers."),
]


def count_kv_heads(parts: Iterable[Attention]) -> set[int]:
    """Return the numbers of key-value heads in layers that tensor parallelism divides by heads."""
    return {
        part.kv_heads for part in parts if isinstance(part, FullAttention | SlidingWindowAttention)
    }
