"""The early compilation of vLLM's sampling kernel, with a Triton that compiles nothing."""

from __future__ import annotations

import contextvars
import sys
import threading
import types
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

import pytest

from worker.engine import sampling_kernels

RUNNER = "vllm.v1.worker.gpu.model_runner"

active: contextvars.ContextVar[Any] = contextvars.ContextVar("active", default=None)


@dataclass
class Compiled:
    """Triton's kernel in the making."""

    future: Future[Any]
    completed: threading.Event = field(default_factory=threading.Event)

    def result(self, ignore_errors: bool = False) -> None:
        assert self.future.done()
        assert ignore_errors
        self.completed.set()


class AsyncCompileMode:
    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.raw_futures: list[Future[Any]] = []
        self.future_kernels: dict[Any, Compiled] = {}

    def __enter__(self) -> None:
        active.set(self)


class Tensor(types.SimpleNamespace):
    def __init__(self, dtype: str, **layout: Any) -> None:
        super().__init__(dtype=dtype, **layout)


class Kernel:
    """vLLM's kernel: hands its compilation to the mode that applies."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.modes: list[AsyncCompileMode] = []
        self.may_end = threading.Event()

    def compile(self, key: Any) -> None:
        mode = active.get()
        self.modes.append(mode)
        self.batches.append(dict(key[1])["logits"].shape[0])
        future = mode.executor.submit(self.may_end.wait, 10)
        mode.raw_futures.append(future)
        mode.future_kernels[len(self.batches)] = Compiled(future)


class Runner:
    """vLLM's model runner."""

    def __init__(self, requests: int = 256, *, pooling: bool = False, warms: bool = True) -> None:
        self.max_num_reqs, self.vocab_size = requests, 128_256
        self.is_last_pp_rank, self.is_pooling_model = True, pooling
        self.vllm_config = types.SimpleNamespace(
            kernel_config=types.SimpleNamespace(enable_jit_warmup=warms)
        )
        self.loaded: list[Any] = []

    def load_model(self, *args: Any) -> str:
        self.loaded += args
        return "the model"


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    modules = {
        "torch": {"float32": "float32", "int32": "int32"},
        "triton": {"AsyncCompileMode": AsyncCompileMode},
        "vllm.platforms": {"current_platform": types.SimpleNamespace(is_cuda=lambda: True)},
        "vllm.v1.sample.ops.topk_topp_triton": {"_topk_topp": kernel},
        "vllm.model_executor.warmup.jit_warmup_triton_helper": {
            "TritonCompileKey": lambda *parts: parts,
            "TritonWarmupTensor": Tensor,
        },
        RUNNER: {"GPUModelRunner": type("Runner", (Runner,), {})},
    }
    for name, content in modules.items():
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**content))  # type: ignore[arg-type]
    return kernel


def load(*args: Any, **options: Any) -> Runner:
    sampling_kernels.compile_during_weights()
    runner: Runner = sys.modules[RUNNER].GPUModelRunner(*args, **options)
    assert runner.load_model(1, 2) == "the model"
    assert runner.loaded == [1, 2]
    return runner


@pytest.mark.parametrize(
    ("requests", "batches"),
    [(256, [1, 64, 65]), (65, [1, 64, 65]), (64, [1, 64]), (8, [1, 8]), (1, [1])],
)
def test_each_variant_is_compiled_once(kernel: Kernel, requests: int, batches: list[int]) -> None:
    kernel.may_end.set()

    load(requests)

    assert kernel.batches == batches


def test_model_loads_while_the_kernel_is_compiled(kernel: Kernel) -> None:
    load()

    compiled = list(kernel.modes[0].future_kernels.values())
    assert not any(each.completed.is_set() for each in compiled)
    kernel.may_end.set()
    assert all(each.completed.wait(10) for each in compiled)


def test_other_kernels_are_compiled_as_before(kernel: Kernel) -> None:
    kernel.may_end.set()

    load()

    assert active.get() is None


@pytest.mark.parametrize("options", [{"pooling": True}, {"warms": False}])
def test_nothing_is_compiled_that_the_start_does_not_need(
    kernel: Kernel, options: dict[str, bool]
) -> None:
    load(**options)

    assert kernel.batches == []


def test_model_loads_with_another_triton(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys.modules["triton"], "AsyncCompileMode")

    load()

    assert kernel.batches == []


def test_nothing_is_changed_without_cuda(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = types.SimpleNamespace(is_cuda=lambda: False)
    monkeypatch.setattr(sys.modules["vllm.platforms"], "current_platform", platform)

    load()

    assert kernel.batches == []
