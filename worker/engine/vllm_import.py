"""Import vLLM in less time; only processes that run vLLM import this module.

`tests/e2e/test_import_contract.py` fails with the reason when vLLM or its libraries change what is
replaced here. benchmarks/cold-start.md has what each change saves.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import importlib.abc
import importlib.metadata
import importlib.util
import marshal
import os
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

CONFIGURATION_MODULES = ("vllm.config", "vllm.engine.arg_utils")
"""What both vLLM's API server and its engine import first."""

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

INDUCTOR = "torch._inductor"
FALLBACK_PATCH = "_patch_inductor_fallback_allow_list"
"""The only function of `vllm.env_override` that imports Inductor with vLLM's own PyTorch."""

STRUCTURE = Path(__file__).with_name("transformers.marshal")
"""The names that transformers' models define, written when an image is built."""


def import_all(modules: Iterable[str]) -> None:
    """Import modules; one that is missing or fails is left to vLLM, which reports the reason."""
    for name in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def import_configuration() -> None:
    """Import what vLLM's API server and its engine both need."""
    remember_packages()
    remember_transformers()
    defer_inductor()
    import_all(CONFIGURATION_MODULES)


def import_engine() -> None:
    """Import what vLLM's engine process needs and the API server does not."""
    from vllm.platforms import current_platform

    import_all(ENGINE_MODULES)
    with contextlib.suppress(ImportError):
        # It must find the process's title before the environment changes.
        importlib.import_module("setproctitle").getproctitle()
    import_all(CPU_MODULES if current_platform.is_cpu() else GPU_MODULES)


class AfterImport(importlib.abc.MetaPathFinder):
    """Calls a function with a module when the module has been imported.

    Args:
        name: The module; it must not have been imported yet.
        function: Called once.
    """

    def __init__(self, name: str, function: Callable[[Any], object]) -> None:
        self._name = name
        self._function = function
        sys.meta_path.insert(0, self)

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """Return the module's own specification with another last step; None for other modules."""
        if fullname != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_then_call(module: types.ModuleType) -> None:
                execute(module)
                self._function(module)

            spec.loader.exec_module = execute_then_call  # type: ignore[method-assign]
        return spec


def defer_inductor() -> None:
    """Import vLLM without Inductor, PyTorch's compiler, which is imported when it is needed.

    vLLM imports it to add its own operators to a list: a fifth of the import.
    """
    importlib.import_module("torch")
    if INDUCTOR in sys.modules:
        return
    sys.modules[INDUCTOR] = None  # type: ignore[assignment]
    try:
        env_override = importlib.import_module("vllm.env_override")
    except ImportError:  # With another PyTorch, vLLM needs it at once.
        return
    finally:
        del sys.modules[INDUCTOR]
    AfterImport(f"{INDUCTOR}.lowering", lambda _module: getattr(env_override, FALLBACK_PATCH)())


def compile_at_first_call() -> None:
    """Make `torch.compile` as a decorator import its compiler when the function is called.

    vLLM's modules decorate functions that only its engine calls, and with the first one PyTorch
    imports Inductor. For processes that run no model, or run it without compilation.
    """
    torch: Any = importlib.import_module("torch")
    compile_now = torch.compile

    def compile_later(model: Any = None, **options: Any) -> Any:
        if model is None:
            return functools.partial(compile_later, **options)
        if not isinstance(model, types.FunctionType):
            return compile_now(model, **options)
        compiled = functools.cache(lambda: compile_now(model, **options))

        @functools.wraps(model)
        def call(*args: Any, **kwargs: Any) -> Any:
            return compiled()(*args, **kwargs)

        # Where another function is compiled that calls this one, PyTorch traces the original.
        call._torchdynamo_inline = model  # type: ignore[attr-defined]
        return call

    torch.compile = compile_later


def create_cuda_context() -> None:
    """Create the CUDA context of the first GPU in this process, which must not fork afterwards.

    PyTorch adopts it when it first uses the GPU. The driver's functions need no lock of Python's:
    another thread imports modules meanwhile.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return
    device, context = ctypes.c_int(), ctypes.c_void_p()
    if not cuda.cuInit(0) and not cuda.cuDeviceGet(ctypes.byref(device), 0):
        cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)


class LazyDistributions(Mapping[str, list[str]]):
    """The result of `importlib.metadata.packages_distributions`, looked up one name at a time.

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


def remember_transformers(source: Path = STRUCTURE) -> None:
    """Give transformers the list of its models' names that the image has, or let it read them once.

    At import it reads the source of all its models, 2,000 files, and does so twice.

    Args:
        source: The list.
    """
    name = "transformers.utils.import_utils"
    if name not in sys.modules:
        AfterImport(name, lambda module: read_models_once(module, source))


def read_models_once(import_utils: Any, source: Path) -> None:
    """Replace transformers' function that reads the names which modules in a folder define.

    Args:
        import_utils: transformers' module of that function.
        source: The list for the folder of the models, if there is one.
    """
    read = import_utils.create_import_structure_from_path
    folder = Path(import_utils.__file__).parents[1] / "models"

    @functools.cache
    def read_models() -> Any:
        return load_structure(source) or read(str(folder))

    @functools.wraps(read)
    def read_known(path: Any) -> Any:
        # A module passes its own path; its folder is meant.
        wanted = Path(path).parent if os.path.isfile(path) else Path(path)
        return read_models() if wanted == folder else read(path)

    import_utils.create_import_structure_from_path = read_known


def structure_version() -> tuple[str, str]:
    """Return the versions for which a list of transformers' names is valid."""
    return importlib.metadata.version("transformers"), sys.version


def load_structure(source: Path) -> Any:
    """Return the names that transformers' models define; None if they are of other versions."""
    try:
        version, structure = marshal.loads(source.read_bytes())  # noqa: S302  the image's own
    except (OSError, ValueError, EOFError, TypeError):
        return None
    return structure if version == structure_version() else None


def record_structure(target: Path = STRUCTURE) -> None:
    """Write the list of the names that transformers' models define.

    Args:
        target: The list.
    """
    import_utils = importlib.import_module("transformers.utils.import_utils")
    folder = Path(str(import_utils.__file__)).parents[1] / "models"
    # The function itself, where `read_models_once` has replaced it.
    read = import_utils.create_import_structure_from_path
    read = getattr(read, "__wrapped__", read)
    target.write_bytes(marshal.dumps((structure_version(), read(str(folder)))))
