"""Patches of vLLM that shorten its start; only processes that run vLLM import this module.

`tests/e2e/test_vllm_contract.py` fails with the reason when vLLM changes what is patched here.
benchmarks/cold-start.md has what each patch saves.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from worker.engine.vllm_import import SERVER_MODULES, import_all

TOKENIZER_WAIT_S = 3.0
"""How long the engine's tokenizer waits for the weights, seconds."""

OTHER_READING = frozenset(
    {"--safetensors-load-strategy", "--enable-sleep-mode", "--cpu-offload-gb", "--quantization"}
)
"""Options with which vLLM reads weights, keeps them or allocates their memory in another way. While
it quantizes a model, it collects the tensors of a layer, which may be too many for the GPU."""

MIXED_STEP, LARGE_MIXED_STEP = 32, 64
"""Step between the sizes of CUDA graphs for batches that also read prompts, tokens."""
LARGE_MIXED = 256
"""The larger step applies above this size, tokens."""
DECODE_STEP = 16
"""Step between the sizes of CUDA graphs for batches that only generate, requests …"""
DENSE_UP_TO, DENSE_FROM = 32, 176
"""… between these; below and above, every size of vLLM is captured."""


def keep_objects_frozen() -> None:
    """Stop vLLM from unfreezing the garbage collector's objects after it has captured CUDA graphs.

    It would traverse all modules twice, 1.7 s on an H100, and then freezes everything again.
    """
    gc.unfreeze = lambda: None


def load_tokenizer(config: Any) -> None:
    """Load the tokenizer and the chat template into vLLM's caches.

    Args:
        config: vLLM's configuration.
    """
    from vllm.renderers import hf
    from vllm.tokenizers import cached_tokenizer_from_config

    with contextlib.suppress(Exception):  # vLLM loads it again and reports the reason.
        tokenizer = cached_tokenizer_from_config(config.model_config)
        hf.resolve_chat_template(tokenizer, None, None, model_config=config.model_config)


def prepare_server(config: Any) -> None:
    """Do what an API server would do only when the engine is ready: import, load the tokenizer.

    Args:
        config: vLLM's configuration.
    """
    import_all(SERVER_MODULES)
    load_tokenizer(config)


def load_engine_tokenizer_during_weights() -> None:
    """Load the engine's own tokenizer while the weights are copied to the GPU.

    vLLM loads it after everything else, 0.9 s for a vocabulary of 128,000. Before the weights, it
    would take turns with the engine's own Python code.
    """
    from vllm.model_executor.model_loader.default_loader import DefaultModelLoader
    from vllm.tokenizers import cached_tokenizer_from_config
    from vllm.v1.engine.core import EngineCore

    reading = threading.Event()
    create, load_weights = EngineCore.__init__, DefaultModelLoader.load_weights

    def load(config: Any) -> None:
        # Where other processes load the weights, this one only waits for them.
        reading.wait(TOKENIZER_WAIT_S)
        with contextlib.suppress(Exception), share_tokenizers():
            cached_tokenizer_from_config(config.model_config)

    @functools.wraps(create)
    def create_engine(self: Any, vllm_config: Any, *args: Any, **kwargs: Any) -> None:
        thread = threading.Thread(target=load, args=[vllm_config], name="tokenizer", daemon=True)
        thread.start()
        create(self, vllm_config, *args, **kwargs)

    @functools.wraps(load_weights)
    def load_weights_and_tell(self: Any, *args: Any, **kwargs: Any) -> Any:
        reading.set()
        return load_weights(self, *args, **kwargs)

    EngineCore.__init__ = create_engine
    DefaultModelLoader.load_weights = load_weights_and_tell


@contextlib.contextmanager
def share_tokenizers() -> Iterator[None]:
    """Let transformers use a tokenizer that it has just read, instead of a copy of it.

    For a vocabulary of 128,000 the copy takes 0.5 s, during which no other thread runs.
    """
    from tokenizers import Tokenizer

    copiers: dict[type, Any] = copy._deepcopy_dispatch  # type: ignore[attr-defined]
    copiers[Tokenizer] = lambda tokenizer, _memo: tokenizer
    try:
        yield
    finally:
        del copiers[Tokenizer]


def read_weights_in_threads(arguments: Sequence[str]) -> None:
    """Read the weights of a model on one GPU with `WeightReader`, unless the arguments say how.

    With several GPUs, each process of vLLM copies only its own part of each tensor.

    Args:
        arguments: vLLM's arguments.
    """
    if not OTHER_READING.isdisjoint(arguments):
        return
    from vllm.model_executor.model_loader import default_loader, weight_utils
    from vllm.model_executor.model_loader.ep_weight_filter import should_skip_weight
    from vllm.platforms import current_platform

    iterate: Callable[..., Iterator[Any]] = default_loader.safetensors_weights_iterator

    @functools.wraps(iterate)
    def iterate_in_threads(
        files: list[str],
        progress: bool,
        strategy: str | None = None,
        local_expert_ids: set[int] | None = None,
        **options: Any,
    ) -> Iterator[Any]:
        import torch

        from worker.engine.weight_reader import WeightReader, choose_ahead_bytes

        ahead_bytes = 0
        if strategy is None and current_platform.is_cuda():
            free_bytes, _total = torch.cuda.mem_get_info()
            ahead_bytes = choose_ahead_bytes(free_bytes)
        if not ahead_bytes or torch.distributed.get_world_size() > 1:
            return iterate(files, progress, strategy, local_expert_ids, **options)
        paths = weight_utils.tqdm(
            sorted(files, key=weight_utils._natural_sort_key),
            desc="Loading safetensors checkpoint shards",
            disable=not weight_utils.enable_tqdm(progress),
            bar_format=weight_utils._BAR_FORMAT,
        )
        reader = WeightReader(torch.device("cuda", torch.cuda.current_device()), ahead_bytes)
        return reader.read(paths, lambda name: should_skip_weight(name, local_expert_ids))

    default_loader.safetensors_weights_iterator = iterate_in_threads


def is_captured(size: int, *, mixed: bool) -> bool:
    """Return whether a CUDA graph of vLLM's default sizes is captured.

    A step runs in the next larger graph. Up to 64 requests the weights take all of the time; the
    distance keeps what padding costs below 1 % of a step that only generates (H100, 8B model).

    Args:
        size: Number of tokens.
        mixed: Whether the graph is for steps that also read prompts.
    """
    if mixed:
        return size % (MIXED_STEP if size <= LARGE_MIXED else LARGE_MIXED_STEP) == 0
    return not DENSE_UP_TO < size < DENSE_FROM or size % DECODE_STEP == 0


def choose_sizes(sizes: Collection[int], *, mixed: bool) -> set[int]:
    """Return which of vLLM's default sizes to capture; the largest always."""
    largest = max(sizes, default=0)
    return {size for size in sizes if size == largest or is_captured(size, mixed=mixed)}


def capture_fewer_graphs(arguments: Sequence[str]) -> None:
    """Capture CUDA graphs for fewer sizes, unless the arguments choose them.

    Args:
        arguments: vLLM's arguments.
    """
    text = " ".join(arguments).replace("-", "_")
    if "cudagraph_capture_size" in text or "optimization_level 3" in text:
        return
    try:
        from vllm.v1.worker.gpu.cudagraph_utils import CudaGraphManager
    except ImportError:  # Without Triton, vLLM uses its older code.
        return
    initialize = CudaGraphManager._init_candidates

    @functools.wraps(initialize)
    def initialize_fewer(self: Any) -> None:
        initialize(self)
        # Speculative decoding and its variants need multiples of their own.
        if self.vllm_config.speculative_config is None and self.decode_query_len == 1:
            drop_graphs(self._capture_descs, self._candidates)

    CudaGraphManager._init_candidates = initialize_fewer


def drop_graphs(
    captured: dict[Any, list[Any]], candidates: dict[tuple[int, int], list[Any]]
) -> None:
    """Remove graphs from what vLLM captures and from what it chooses from.

    Args:
        captured: Descriptions of graphs by mode, e.g. FULL; changed.
        candidates: Descriptions for each number of tokens and of adapters, best first; changed.
    """
    for mode, descriptions in captured.items():
        sizes = choose_sizes({each.num_tokens for each in descriptions}, mixed=mode.name != "FULL")
        captured[mode] = [each for each in descriptions if each.num_tokens in sizes]
    modes = sorted(captured, key=lambda mode: mode.name)  # FULL before PIECEWISE, as in vLLM.
    for tokens, adapters in candidates:
        found = candidates[tokens, adapters] = []
        for mode in modes:
            fitting = [
                each
                for each in captured[mode]
                if each.num_tokens >= tokens and each.num_active_loras == adapters
            ]
            least = min((each.num_tokens for each in fitting), default=0)
            found += [each for each in fitting if each.num_tokens == least]
