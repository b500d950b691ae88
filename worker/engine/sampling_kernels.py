"""Compile the kernel of top-k and top-p while the model loads; only processes of vLLM import this.

vLLM 0.32 compiles its variants one after the other, 16 s on an H100, when it warms up or for the
first requests that need them, and all others wait. `tests/e2e/test_sampling_contract.py` fails with
the reason when vLLM changes what is used here.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

SMALL_BATCH = 64
"""Largest batch for which vLLM filters by top-p alone in another kernel."""

BATCHES = (1, SMALL_BATCH, SMALL_BATCH + 1)
"""A number of requests for each variant of the kernel."""


def compile_during_weights() -> None:
    """Make vLLM's engine start the compilation before it loads the model."""
    from vllm.platforms import current_platform

    if not current_platform.is_cuda():
        return
    from vllm.v1.worker.gpu.model_runner import GPUModelRunner

    load_model = GPUModelRunner.load_model

    @functools.wraps(load_model)
    def compile_and_load(self: Any, *args: Any, **kwargs: Any) -> Any:
        if warms_sampler_up(self):
            # vLLM compiles the kernel later where this fails, and reports the reason.
            with contextlib.suppress(Exception):
                start_compilation(self.vocab_size, self.max_num_reqs)
        return load_model(self, *args, **kwargs)

    GPUModelRunner.load_model = compile_and_load


def warms_sampler_up(runner: Any) -> bool:
    """Return whether a model runner of vLLM samples tokens and compiles kernels at its start."""
    samples = runner.is_last_pp_rank and not runner.is_pooling_model
    return bool(samples and runner.vllm_config.kernel_config.enable_jit_warmup)


def start_compilation(vocabulary: int, most: int) -> None:
    """Compile the variants in threads. Until then, a call of the kernel waits.

    Triton's compiler holds Python's lock for a tenth of its time.

    Args:
        vocabulary: Number of the model's tokens.
        most: Largest number of requests in a batch.
    """
    from triton import AsyncCompileMode
    from vllm.model_executor.warmup.jit_warmup_triton_helper import TritonCompileKey
    from vllm.v1.sample.ops.topk_topp_triton import _topk_topp

    pool = ThreadPoolExecutor(len(BATCHES), thread_name_prefix="kernel")
    mode = AsyncCompileMode(pool)

    def submit() -> None:
        mode.__enter__()  # Not left again: that waits for the threads.
        for inputs in list_inputs(vocabulary, most):
            _topk_topp.compile(TritonCompileKey(frozenset(), tuple(inputs.items())))

    try:
        # The mode ends with this copy of the context.
        contextvars.copy_context().run(submit)
        for future, compiled in zip(mode.raw_futures, mode.future_kernels.values(), strict=True):
            future.add_done_callback(functools.partial(complete, compiled))
    finally:
        pool.shutdown(wait=False)


def complete(compiled: Any, _future: Any) -> None:
    """Tell Triton that a kernel is compiled, before vLLM reports compilations for requests.

    Args:
        compiled: Triton's kernel; if its compilation has failed, the first call reports that.
    """
    compiled.result(ignore_errors=True)


def list_inputs(vocabulary: int, most: int) -> Iterator[dict[str, Any]]:
    """Yield the arguments of vLLM's function for each variant that its warm-up calls.

    Args:
        vocabulary: Number of the model's tokens.
        most: Largest number of requests in a batch.
    """
    import torch
    from vllm.model_executor.warmup.jit_warmup_triton_helper import TritonWarmupTensor

    numbers = TritonWarmupTensor(torch.float32)
    for batch in sorted({min(batch, most) for batch in BATCHES}):
        yield {
            "logits": TritonWarmupTensor(
                torch.float32, shape=(batch, vocabulary), strides=(vocabulary, 1)
            ),
            "buffer": numbers,
            "percentile_to_std_table": numbers,
            "normal_cdf_to_sigma_table": numbers,
            "k": TritonWarmupTensor(torch.int32),
            "p": numbers,
            "mask_value": float("-inf"),
            "num_sm": 1,
        }
