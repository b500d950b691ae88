"""The environment of the compared systems, which has the same settings for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MODEL = "bench"
"""Served name of the model."""

MAX_SEQUENCES = 320
"""Above the largest burst, so no sequence waits for a slot."""


@dataclass(frozen=True, slots=True)
class Space:
    """Limits of an engine.

    Attributes:
        model_len: Maximum sequence length, tokens.
        gpu_share: Of the GPU's memory, that must be free when the engine starts.
        gpu_kv_cache_bytes: Its KV cache on a GPU. It is given, not measured: engines that start at
            the same time could not measure what each of them leaves.
        cpu_kv_cache_bytes: Its KV cache where there is no GPU.
    """

    model_len: int
    gpu_share: float
    gpu_kv_cache_bytes: int
    cpu_kv_cache_bytes: int


LOAD = Space(
    model_len=2048,
    gpu_share=0.2,
    gpu_kv_cache_bytes=8 * 1024**3,
    cpu_kv_cache_bytes=512 * 1024**2,
)
"""Limits for bursts, with up to four engines at a time."""


def make_environ(
    environ: Mapping[str, str], model: Path, space: Space = LOAD, *, gpu: bool
) -> dict[str, str]:
    """Return the environment with which every system serves `model`.

    Args:
        environ: Our own environment.
        model: Folder of the model.
        space: What the engine has room for.
        gpu: Whether vLLM runs on a GPU; without one it runs eagerly.
    """
    common = {
        **environ,
        "MODEL_NAME": str(model),
        "OPENAI_SERVED_MODEL_NAME_OVERRIDE": MODEL,
        "LOAD_FORMAT": "dummy",
        "MAX_MODEL_LEN": str(space.model_len),
        "MAX_NUM_SEQS": str(MAX_SEQUENCES),
        "MAX_CONCURRENCY": str(MAX_SEQUENCES),
        "HF_HUB_OFFLINE": "1",
        # Its default is DEBUG, which prints every chunk; here it favours worker-vllm, which has it.
        "RUNPOD_LOG_LEVEL": "INFO",
    }
    if gpu:
        return common | {
            "GPU_MEMORY_UTILIZATION": str(space.gpu_share),
            "KV_CACHE_MEMORY_BYTES": str(space.gpu_kv_cache_bytes),
        }
    return common | {
        "ENFORCE_EAGER": "true",
        "KV_CACHE_MEMORY_BYTES": str(space.cpu_kv_cache_bytes),
        # A GPU that this vLLM is not built for is not there for anybody.
        "CUDA_VISIBLE_DEVICES": "",
    }
