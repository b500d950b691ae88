"""Patches of vLLM that shorten its start; only processes that run vLLM import this module.

`tests/e2e/test_vllm_contract.py` fails with the reason when vLLM changes what is patched here.
docs/cold-start.md has what each patch saves.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import importlib.metadata
import importlib.util
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

ENGINE_MODULES = (
    "vllm.v1.executor.uniproc_executor",
    "vllm.model_executor.model_loader.default_loader",
)
"""What vLLM's engine process imports on every machine …"""
CPU_MODULES = ("vllm.v1.executor.multiproc_executor", "vllm.v1.worker.cpu_worker")
"""… without a GPU …"""
GPU_MODULES = (
    "vllm.v1.worker.gpu_worker",
    "vllm.v1.worker.gpu.model_runner",
    "vllm.v1.attention.backends.flash_attn",
    "torch._inductor.codecache",
)
"""… and with one."""

SERVER_MODULES = (
    "vllm.entrypoints.launchers.app",
    "vllm.entrypoints.launchers.api_server.app_state",
    "vllm.entrypoints.anthropic.api_router",
    "vllm.entrypoints.generate.generative_scoring.api_router",
    "vllm.entrypoints.openai.chat_completion.api_router",
    "vllm.entrypoints.openai.completion.api_router",
    "vllm.entrypoints.openai.responses.api_router",
    "vllm.entrypoints.serve.instrumentator.metrics",
    "vllm.entrypoints.serve.sagemaker.api_router",
)
"""What an API server imports once the engine is ready."""

TOKENIZER_WAIT_S = 3.0
"""How long the engine's tokenizer waits for the weights, seconds."""

MIXED_STEP, LARGE_MIXED_STEP = 32, 64
"""Distance of the sizes of CUDA graphs for steps that also read prompts, tokens."""
LARGE_MIXED = 256
"""The larger distance applies above this size, tokens."""
DECODE_STEP = 16
"""Distance of the sizes of CUDA graphs for steps that only generate, requests …"""
DENSE_UP_TO, DENSE_FROM = 32, 176
"""… between these; below and above, every size of vLLM is captured."""


def import_all(modules: Iterable[str]) -> None:
    """Import modules; one that is missing or fails is left to vLLM, which reports the reason."""
    for name in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def import_engine() -> None:
    """Import what vLLM's engine process needs and the API server does not."""
    from vllm.platforms import current_platform

    import_all(ENGINE_MODULES)
    with contextlib.suppress(ImportError):
        # It must find the process's title before the environment changes.
        importlib.import_module("setproctitle").getproctitle()
    import_all(CPU_MODULES if current_platform.is_cpu() else GPU_MODULES)


class LazyDistributions(Mapping[str, list[str]]):
    """The result of `importlib.metadata.packages_distributions`, found out for one name at a time.

    transformers reads the metadata of every installed package at import, 0.4 s on two cores and
    1.3 s on a slow disk, to look up a few names.
    """

    def __init__(self, read_all: Callable[[], Mapping[str, list[str]]]) -> None:
        self._read_all = functools.cache(read_all)

    def __getitem__(self, name: str) -> list[str]:
        if importlib.util.find_spec(name) is None:
            raise KeyError(name)
        try:
            return [importlib.metadata.distribution(name).metadata["Name"]]
        except importlib.metadata.PackageNotFoundError:
            return self._read_all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read_all())

    def __len__(self) -> int:
        return len(self._read_all())


def remember_packages() -> None:
    """Read the metadata of the installed packages once per process, and only what is needed.

    vLLM and its libraries search all of it for plugins about ten times, 20 to 40 ms each.
    """
    read_entry_points = functools.cache(importlib.metadata.entry_points)
    lazy = LazyDistributions(importlib.metadata.packages_distributions)

    def entry_points(**selection: Any) -> Any:
        return read_entry_points().select(**selection)

    importlib.metadata.entry_points = entry_points
    importlib.metadata.packages_distributions = lambda: lazy


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


def load_engine_tokenizer_beside_weights() -> None:
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
        with contextlib.suppress(Exception):
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
