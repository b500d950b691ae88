"""What a layer keeps per token or per request while a model generates."""

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
    """Layers of a model that keep the same thing.

    A model is a list of these: most have one entry, hybrid models one per kind of layer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


class Full(Attention):
    """Every token's key and value are kept: multi-head and grouped-query attention."""

    kind: Literal["full"] = Field("full", description="Keeps all tokens.")
    layers: Layers
    kv_heads: Heads
    head_size: HeadSize

    def __str__(self) -> str:
        return f"{self.layers} layers of {self.kv_heads} KV heads of {self.head_size}"


class Sliding(Attention):
    """Only the last tokens are kept."""

    kind: Literal["sliding"] = Field(description="Keeps the last `window` tokens.")
    layers: Layers
    kv_heads: Heads
    head_size: HeadSize
    window: int = Field(ge=1, description="Tokens that a layer looks back, tokens.")

    def __str__(self) -> str:
        heads = f"{self.kv_heads} KV heads of {self.head_size}"
        return f"{self.layers} layers of {heads} with a window of {self.window}"


class Latent(Attention):
    """One compressed vector per token (multi-head latent attention); each GPU holds all of it."""

    kind: Literal["latent"] = Field(description="Keeps one compressed vector per token (MLA).")
    layers: Layers
    width: int = Field(
        ge=1, le=8192, description="Elements of the vector: latent rank plus rotary part."
    )

    def __str__(self) -> str:
        return f"{self.layers} layers with a latent vector of {self.width}"


class Recurrent(Attention):
    """A state of fixed size per request, whatever the context (Mamba, gated delta networks)."""

    kind: Literal["recurrent"] = Field(description="Keeps a state of fixed size per request.")
    layers: Layers
    state_bytes: int = Field(ge=1, description="State of one layer and request, bytes.")

    def __str__(self) -> str:
        return f"{self.layers} recurrent layers with a state of {self.state_bytes:,} bytes"


class Cross(Attention):
    """Keys and values of an encoder's output, once per request."""

    kind: Literal["cross"] = Field(description="Keeps the encoder's output, once per request.")
    layers: Layers
    kv_heads: Heads
    head_size: HeadSize
    tokens: int = Field(ge=1, description="Positions that the encoder gives, tokens.")

    def __str__(self) -> str:
        heads = f"{self.kv_heads} KV heads of {self.head_size}"
        return f"{self.layers} layers of {heads} over {self.tokens} encoder positions"


AnyAttention = Annotated[
    Full | Sliding | Latent | Recurrent | Cross, Field(discriminator="kind", description="Layers.")
]


def count_kv_heads(parts: Iterable[Attention]) -> set[int]:
    """Return the numbers of key-value heads that layers have, of those that divide them at all."""
    return {part.kv_heads for part in parts if isinstance(part, Full | Sliding)}
