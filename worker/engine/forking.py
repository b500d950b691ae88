"""Patches that make vLLM fork its processes from the one that has imported it.

vLLM spawns most of them, and each then imports vLLM again: about 10 s, or 22 s of CPU time with
four API servers on an H100. `tests/e2e/test_vllm_contract.py` fails with the reason when vLLM
changes what is patched here.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import multiprocessing
import os
import sys
import tempfile
import threading
import types
from collections.abc import Callable, Sequence
from typing import Any

from worker.engine import startup_patches, vllm_import
from worker.engine.forked import ForkError, run_in_fork
from worker.engine.prepared import PreparedProcess

OTHER_STARTS = frozenset({"--headless", "--numa-bind", "--data-parallel-backend"})
"""Options that make vLLM start its engines in another way, or none."""

SIZES_OF_GROUPS = (
    "--tensor-parallel-size",
    "--pipeline-parallel-size",
    "--prefill-context-parallel-size",
    "--data-parallel-size",
)
"""Options with which vLLM computes in more than one process; a size of 1 changes nothing."""


def fork_is_safe() -> bool:
    """Return whether vLLM's processes may be forked from this one, without a new import.

    A fork saves each of them a second import of vLLM, about 10 s. It is safe until an accelerator's
    runtime is initialised in this process, and only on Linux. vLLM's CPU platform always asks for
    `spawn`; there, forking is safe while this process has run no OpenMP region, and nothing before
    the engine's start does.
    """
    from vllm.platforms import current_platform

    return sys.platform == "linux" and bool(current_platform.is_cpu())


def fork_engine_processes(create_engine_config: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `AsyncEngineArgs.create_engine_config`: afterwards, vLLM forks where that is safe.

    The configuration of vLLM's CPU platform sets `spawn` itself, so the choice must be made after
    it and before the first process starts, and vLLM has no public place for that.
    """

    @functools.wraps(create_engine_config)
    def create(*args: Any, **kwargs: Any) -> Any:
        chosen = os.environ.get("VLLM_WORKER_MULTIPROC_METHOD")
        config = create_engine_config(*args, **kwargs)
        if chosen is None and fork_is_safe():
            os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"
        elif chosen is not None:
            os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = chosen
        return config

    return create


def prepare_engine(arguments: Sequence[str], patch: Callable[[], None]) -> PreparedProcess | None:
    """Fork the process that will be vLLM's engine, which imports the rest of what it needs.

    Meanwhile this process imports the API server and builds the configuration. None where vLLM
    does not fork its engine, and for a model that is not on the disk: vLLM reads the headers of
    its weight files for the configuration, and a process that is forked before reads them again.

    Args:
        arguments: vLLM's arguments.
        patch: Applies the patches of the engine.
    """
    method = os.environ.get("VLLM_WORKER_MULTIPROC_METHOD", "fork")
    if method != "fork" or sys.platform != "linux" or OTHER_STARTS.intersection(arguments):
        return None
    options = dict(itertools.pairwise(arguments))
    if not os.path.isdir(options.get("--model", "")):
        return None
    alone = all(options.get(size, "1") == "1" for size in SIZES_OF_GROUPS)

    def prepare() -> None:
        vllm_import.import_engine()
        patch()

    def prepare_and_use_gpu() -> None:
        thread = threading.Thread(target=vllm_import.create_cuda_context, name="context")
        thread.start()
        prepare()
        thread.join()

    return PreparedProcess(prepare_and_use_gpu if alone else prepare, "EngineCore", prepare)


def fork_api_servers(configured: Sequence[Any]) -> None:
    """Let vLLM fork its API servers from this process where it would fork its engine too.

    vLLM always spawns them, and each imports vLLM again: four took 21 to 28 s of CPU during the
    engine's own start, and share no memory with each other. The copies made here share everything
    that was imported, because the objects of this process are frozen first. Each loads the
    tokenizer while the engine loads the model.

    Args:
        configured: vLLM's configurations so far; the engine's is the last one.
    """
    from prometheus_client import values
    from vllm.v1 import utils
    from vllm.v1.metrics import prometheus

    folders: list[tempfile.TemporaryDirectory[str]] = []

    class ServerProcess(multiprocessing.get_context("fork").Process):  # type: ignore[misc]
        def run(self) -> None:
            # Not before the fork: the engine waits for an answer of this process.
            startup_patches.prepare_server(configured[-1])
            super().run()

    class ServerContext(multiprocessing.context.ForkContext):
        Process = ServerProcess

    def choose_context(method: str | None = None) -> Any:
        if not fork_is_chosen():
            return multiprocessing.get_context(method)
        # vLLM has set the folder that its servers share for their metrics by now. A new process
        # would see it while it imports the library; this one imported it before.
        values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]
        folder = prometheus._prometheus_multiproc_dir
        if isinstance(folder, tempfile.TemporaryDirectory):
            # A server that stops passes it on as a path. The object deletes its folder with itself.
            folders.append(folder)
            prometheus._prometheus_multiproc_dir = folder.name
        gc.freeze()
        return ServerContext() if configured else multiprocessing.get_context("fork")

    names = {**vars(multiprocessing), "get_context": choose_context}
    utils.multiprocessing = types.SimpleNamespace(**names)


def prepare_single_server(configured: Sequence[Any]) -> None:
    """Let the only API server load the tokenizer in a thread while it waits for its engine.

    Args:
        configured: vLLM's configurations so far; the engine's is the last one.
    """
    from vllm.v1.engine import utils

    wait = utils.wait_for_engine_startup

    @functools.wraps(wait)
    def prepare_and_wait(*args: Any, **kwargs: Any) -> None:
        thread = threading.Thread(target=startup_patches.prepare_server, args=[configured[-1]])
        thread.start()
        wait(*args, **kwargs)
        thread.join()

    utils.wait_for_engine_startup = prepare_and_wait


def fork_is_chosen() -> bool:
    """Return whether vLLM's next process may be forked: `spawn` is not set and CUDA not in use."""
    torch = sys.modules["torch"]
    method = os.environ.get("VLLM_WORKER_MULTIPROC_METHOD", "fork")
    return sys.platform == "linux" and method == "fork" and not torch.cuda.is_initialized()


def patch_model_inspection() -> None:
    """Make vLLM inspect the model's class in a fork, not in a process that imports vLLM again.

    vLLM inspects the class at the first start on a disk and caches the result. It uses another
    process to keep CUDA uninitialised in this one. While CUDA is not initialised, a fork does that
    too, as vLLM's own engine processes show. If the fork fails, vLLM's own function is used.
    """
    from vllm.model_executor.models import registry
    from vllm.platforms import current_platform

    by_import = getattr(registry, "_run_in_subprocess", None)
    if by_import is None or sys.platform != "linux":
        return

    def inspect(work: Callable[[], Any]) -> Any:
        torch = sys.modules["torch"]
        if current_platform.is_cpu() or not torch.cuda.is_initialized():
            with contextlib.suppress(ForkError):
                return run_in_fork(work)
        return by_import(work)

    registry._run_in_subprocess = inspect
