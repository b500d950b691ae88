"""The environment of the systems that are compared: the same settings for each of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.model import MAX_MODEL_LEN

MODEL = "bench"
"""Served name of the model."""

MAX_SEQUENCES = 320
"""Above the largest burst: no sequence waits for another one's place."""

GPU_SHARE = 0.25
"""Of the GPU's memory for each of the three engines that live side by side."""

CPU_KV_CACHE_BYTES = 512 * 1024**2


def make_environ(environ: Mapping[str, str], model: Path, *, gpu: bool) -> dict[str, str]:
    """Return the environment with which every system serves `model`.

    Args:
        environ: Our own environment.
        model: Folder of the model.
        gpu: Whether vLLM runs on a GPU; without one it is told to run eagerly.
    """
    common = {
        **environ,
        "MODEL_NAME": str(model),
        "OPENAI_SERVED_MODEL_NAME_OVERRIDE": MODEL,
        "LOAD_FORMAT": "dummy",
        "MAX_MODEL_LEN": str(MAX_MODEL_LEN),
        "MAX_NUM_SEQS": str(MAX_SEQUENCES),
        "MAX_CONCURRENCY": str(MAX_SEQUENCES),
        "HF_HUB_OFFLINE": "1",
        # Its default is DEBUG, which prints every chunk; here it favours the peer, which has it.
        "RUNPOD_LOG_LEVEL": "INFO",
    }
    if gpu:
        return common | {"GPU_MEMORY_UTILIZATION": str(GPU_SHARE)}
    return common | {"ENFORCE_EAGER": "true", "KV_CACHE_MEMORY_BYTES": str(CPU_KV_CACHE_BYTES)}
