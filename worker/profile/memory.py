"""GPU memory that a model needs to be served: weights, adapters, KV cache and a reserve.

Source:
    vLLM 0.32.0, `vllm/v1/kv_cache_interface.py` (bytes per block of each kind of layer) and
    `get_max_concurrency_for_kv_cache_config` (requests of full length that fit). vLLM pads the
    layers of hybrid models to equal pages, so its own figure for those is somewhat lower.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from worker.profile.attention import (
    Attention,
    CrossAttention,
    FullAttention,
    LatentAttention,
    LinearAttention,
    SlidingWindowAttention,
)
from worker.profile.lora import AdapterSlots

GIB = 1024**3

BLOCK = 16
"""Tokens of one KV cache block."""

BATCHED_TOKENS = 8192
"""Default for the tokens of one step: vLLM's default on GPUs of 70 GiB and more. On smaller GPUs it
overestimates, because layers with a window keep that many tokens more."""

STATES = 2
"""States of a request in each recurrent layer: the current one and, for prefix caching, one at the
last block boundary (`mamba_cache_mode` align). Each speculative token needs one more, to restore
after a rejection."""

RESERVE_BYTES = int(1.5 * GIB)
RESERVE_SHARE = 0.03
"""Reserve of each GPU: CUDA context, activations of the largest step, CUDA graphs. An estimate;
vLLM measures it at start."""

ROUND_UP = 128
"""A maximum context is rounded down to a multiple of this."""

KV_BYTES = {"float32": 4.0, "fp8": 1.0, "int8": 1.0, "int4": 0.5, "nvfp4": 0.5625}
"""Bytes of one cache element by the start of the type's name; other types have two."""

PARAMETER_BYTES = {
    "fp32": 4.0,
    "bf16": 2.0,
    "fp16": 2.0,
    "fp8": 1.06,
    "int8": 1.06,
    "mxfp4": 0.58,
    "int4": 0.62,
    "nvfp4": 0.68,
}
"""Bytes of one parameter where only the count is known: quantised models keep embeddings, and
often attention, in two bytes."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Parallelism and cache options with which a model is served.

    Attributes:
        tensor_parallel: Tensor parallel size.
        pipeline_parallel: Pipeline parallel size.
        kv_bytes: Bytes of one element of the KV cache.
        batched_tokens: Maximum number of tokens of one step.
        draft_tokens: Speculative tokens of one step; 0 without speculative decoding.
    """

    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    kv_bytes: float = 2.0
    batched_tokens: int = BATCHED_TOKENS
    draft_tokens: int = 0

    @property
    def gpus(self) -> int:
        """GPUs of one copy of the model."""
        return self.tensor_parallel * self.pipeline_parallel


@dataclass(frozen=True, slots=True)
class Model:
    """The sizes of a model that determine its memory.

    Attributes:
        weight_bytes: All weights, bytes.
        attention: Its layers; empty for a model without a KV cache.
        context: Maximum context length, tokens.
        adapters: Room for LoRA adapters; None without them.
    """

    weight_bytes: int
    attention: Sequence[Attention]
    context: int
    adapters: AdapterSlots | None = None


@dataclass(frozen=True, slots=True)
class Fit:
    """Memory of one GPU with a model.

    Attributes:
        usable_bytes: Memory that vLLM may use.
        weight_bytes: This GPU's share of the weights.
        adapter_bytes: Room for LoRA adapters.
        reserve_bytes: Estimate for everything except weights, adapters and cache.
        cache_bytes: Remaining memory for the cache; negative if weights and adapters do not fit.
        request_bytes: Cache of one request with full context.
        context: Context to serve, tokens.
        longest: Maximum context length of which one request fits, tokens.
    """

    usable_bytes: int
    weight_bytes: int
    adapter_bytes: int
    reserve_bytes: int
    cache_bytes: int
    request_bytes: int
    context: int
    longest: int

    @property
    def fits(self) -> bool:
        """Whether the weights and the cache of one request with full context fit."""
        return self.cache_bytes > 0 and self.request_bytes <= self.cache_bytes

    @property
    def requests(self) -> float:
        """Concurrent requests with full context; infinite without a KV cache."""
        if self.cache_bytes <= 0:
            return 0.0
        return self.cache_bytes / self.request_bytes if self.request_bytes else math.inf

    @property
    def tokens(self) -> float:
        """Size of the KV cache in tokens, as vLLM logs it: requests times context."""
        return self.requests * self.context


def kv_element_bytes(kind: str | None, model_bytes: float = 2.0) -> float:
    """Return the bytes of one element of the cache.

    Args:
        kind: KV_CACHE_DTYPE; `auto` or None is the model's own type.
        model_bytes: Bytes of that type; 2 for bfloat16 and float16.
    """
    if kind is None or kind == "auto":
        return model_bytes
    return next((size for start, size in KV_BYTES.items() if kind.startswith(start)), 2.0)


def estimate_weights(parameters: int, precision: str) -> int:
    """Return an estimate of the weights, bytes.

    Args:
        parameters: Number of parameters.
        precision: Key of `PARAMETER_BYTES`.
    """
    return int(parameters * PARAMETER_BYTES[precision])


def request_bytes(attention: Sequence[Attention], context: int, layout: Layout) -> int:
    """Return the cache of one request with `context` tokens on one GPU, bytes."""
    return math.ceil(sum(_layer_bytes(part, context, layout) for part in attention))


def _layer_bytes(part: Attention, context: int, layout: Layout) -> float:
    if isinstance(part, LinearAttention):
        states = STATES + layout.draft_tokens
        return states * _share(part.layers, layout) * part.state_bytes / layout.tensor_parallel
    if isinstance(part, LatentAttention):
        per_token = part.width * layout.kv_bytes
        return _share(part.layers, layout) * per_token * _blocks(context)
    if isinstance(part, (FullAttention, SlidingWindowAttention, CrossAttention)):
        heads = max(1, math.ceil(part.kv_heads / layout.tensor_parallel))
        per_token = 2 * heads * part.head_size * layout.kv_bytes
        return _share(part.layers, layout) * per_token * _kept_tokens(part, context, layout)
    raise TypeError(type(part).__name__)


def _share(layers: int, layout: Layout) -> int:
    """Return the number of these layers on the GPU that has most of them."""
    return math.ceil(layers / layout.pipeline_parallel)


def _kept_tokens(
    part: FullAttention | SlidingWindowAttention | CrossAttention, context: int, layout: Layout
) -> int:
    if isinstance(part, CrossAttention):
        return _blocks(part.tokens)
    if isinstance(part, SlidingWindowAttention):
        # During prefill the window and one step; the window may begin inside a block.
        kept = min(part.window - 1 + layout.batched_tokens, context)
        return min(_blocks(kept) + BLOCK, _blocks(context))
    return _blocks(context)


def _blocks(tokens: int) -> int:
    """Return tokens rounded up to whole blocks."""
    return math.ceil(tokens / BLOCK) * BLOCK


def token_bytes(attention: Sequence[Attention], layout: Layout) -> float:
    """Return the cache of one more token of a long request on one GPU, bytes."""
    growing = [part for part in attention if isinstance(part, (FullAttention, LatentAttention))]
    return request_bytes(growing, BLOCK, layout) / BLOCK


def longest_context(
    attention: Sequence[Attention], cache_bytes: int, most: int, layout: Layout
) -> int:
    """Return the longest context of which one request fits, tokens; 0 if no context fits."""
    if cache_bytes <= 0:
        return 0
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if request_bytes(attention, middle, layout) <= cache_bytes:
            low = middle
        else:
            high = middle - 1
    return low if low == most else low // ROUND_UP * ROUND_UP


def compute_fit(
    model: Model, gpu_bytes: int, utilization: float, context: int | None, layout: Layout
) -> Fit:
    """Return how a model fits on a GPU.

    Args:
        model: The model.
        gpu_bytes: Memory of one GPU, bytes.
        utilization: GPU_MEMORY_UTILIZATION, above 0 and at most 1.
        context: Context to serve, tokens; None takes the longest that fits, as `auto` does.
        layout: Parallelism and cache options.
    """
    usable = int(gpu_bytes * utilization)
    weights = math.ceil(model.weight_bytes / layout.gpus)
    reserve = int(RESERVE_BYTES + RESERVE_SHARE * gpu_bytes)
    adapters = 0
    if model.adapters is not None:
        adapters = model.adapters.gpu_bytes(layout.tensor_parallel, layout.pipeline_parallel)
    cache = usable - weights - adapters - reserve
    longest = longest_context(model.attention, cache, model.context, layout)
    wanted = context or longest or model.context
    return Fit(
        usable_bytes=usable,
        weight_bytes=weights,
        adapter_bytes=adapters,
        reserve_bytes=reserve,
        cache_bytes=cache,
        request_bytes=request_bytes(model.attention, wanted, layout),
        context=wanted,
        longest=longest,
    )
