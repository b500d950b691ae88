"""vLLM's client for benchmarks, without a server: its figures come from a formula.

With this folder on PYTHONPATH, it takes the place of the installed vLLM. Environment variables:
FAKE_SEQS is how many requests the server runs at once, FAKE_FAIL_FROM the concurrency from which it
rejects them, FAKE_S how long each request takes on the clock.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
import types
from dataclasses import dataclass, field
from typing import Any

SEQS = int(os.environ.get("FAKE_SEQS", "32"))
FAIL_FROM = int(os.environ.get("FAKE_FAIL_FROM", "1000000"))
TAKES_S = float(os.environ.get("FAKE_S", "0"))


@dataclass
class SampleRequest:
    prompt: Any
    prompt_len: int
    expected_output_len: int = 0
    chat_messages: list[Any] | None = None
    request_overrides: dict[str, Any] | None = None


@dataclass
class RequestFuncOutput:
    success: bool = False
    error: str = ""
    start_time: float = 0.0
    itl: list[float] = field(default_factory=list)


def add_cli_args(parser: argparse.ArgumentParser) -> None:
    for name in ("backend", "base-url", "endpoint", "model", "tokenizer", "dataset-name"):
        parser.add_argument(f"--{name}")
    for name in ("num-prompts", "max-concurrency", "random-input-len", "random-output-len", "seed"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--request-rate", type=float)
    for name in ("percentile-metrics", "metric-percentiles", "ready-check-timeout-sec"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--temperature")
    for name in ("disable-tqdm", "save-detailed"):
        parser.add_argument(f"--{name}", action="store_true")


def get_samples(args: argparse.Namespace, tokenizer: Any) -> list[SampleRequest]:
    return [SampleRequest("x", args.random_input_len, args.random_output_len)] * args.num_prompts


def get_tokenizer(name: str | None) -> Any:
    if name == "missing":
        raise OSError("missing has no tokenizer")
    return name


async def send(request_func_input: Any, session: Any, pbar: Any = None) -> RequestFuncOutput:
    await asyncio.sleep(TAKES_S)
    if session >= FAIL_FROM:
        return RequestFuncOutput(error="Traceback\n  in a file\nTooManyRequests: 429")
    if os.environ.get("OPENAI_API_KEY") == "wrong":
        return RequestFuncOutput(error="Unauthorized")
    return RequestFuncOutput(success=True, start_time=time.perf_counter())


async def main_async(args: argparse.Namespace) -> dict[str, Any]:
    tokenizer = serve.get_tokenizer(args.tokenizer)
    samples = serve.get_samples(args, tokenizer)
    count = args.max_concurrency or max(1, round(args.request_rate))
    ask = serve.ASYNC_REQUEST_FUNCS[args.backend]
    outputs = [await ask(sample, count) for sample in samples]
    running = min(count, SEQS)
    token_ms = 5 + 0.1 * running
    answer = args.random_output_len or 16
    own_ms = 20 + running + (answer - 1) * token_ms
    total_ms = own_ms * max(1.0, count / SEQS)
    completed = sum(output.success for output in outputs)
    spreads = {
        f"{percentile}_{name}_ms": value * factor
        for name, value in (
            ("ttft", total_ms - own_ms + 20 + running),
            ("tpot", token_ms),
            ("e2el", total_ms),
        )
        if tokenizer or name == "e2el"
        for percentile, factor in (("p50", 1.0), ("p95", 1.1), ("p99", 1.2))
    }
    return {
        **spreads,
        "mean_e2el_ms": total_ms,
        "duration": len(samples) / count * total_ms / 1000,
        "completed": completed,
        "failed": len(samples) - completed,
        "total_input_tokens": completed * (args.random_input_len or 16),
        "total_output_tokens": completed * answer,
        "start_times": [output.start_time for output in outputs],
        "errors": [output.error for output in outputs],
    }


def make_module(name: str, **members: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module
    return module


serve = make_module(
    "vllm.benchmarks.serve",
    add_cli_args=add_cli_args,
    get_samples=get_samples,
    get_tokenizer=get_tokenizer,
    main_async=main_async,
    ASYNC_REQUEST_FUNCS={"openai": send, "openai-chat": send},
)
make_module("vllm.benchmarks", serve=serve)
make_module("vllm.benchmarks.datasets", SampleRequest=SampleRequest)
make_module("vllm.benchmarks.lib", RequestFuncOutput=RequestFuncOutput)
make_module("vllm.benchmarks.lib.endpoint_request_func", RequestFuncOutput=RequestFuncOutput)
make_module("vllm.utils")
make_module("vllm.utils.argparse_utils", FlexibleArgumentParser=argparse.ArgumentParser)
