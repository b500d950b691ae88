"""The client of `vllm bench serve`: random prompts, arrivals, and times per token."""

from __future__ import annotations

import importlib
import io
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environment import MODEL
from benchmarks.load import ROUTES, Shape

BACKENDS: dict[Shape, str] = {"chat": "openai-chat", "completion": "openai"}

FIGURES = {
    "tokens_per_s": "output_throughput",
    "ttft_p50_ms": "p50_ttft_ms",
    "ttft_p99_ms": "p99_ttft_ms",
    "tpot_p50_ms": "p50_tpot_ms",
    "tpot_p99_ms": "p99_tpot_ms",
    "itl_p50_ms": "p50_itl_ms",
    "itl_p99_ms": "p99_itl_ms",
    "end_p99_ms": "p99_e2el_ms",
}
"""Our name of a figure -> its name in vLLM's client."""


@dataclass(frozen=True, slots=True)
class Load:
    """Requests with random prompts, all streamed.

    Attributes:
        shape: Which of OpenAI's routes is asked.
        requests: How many.
        rate: Mean arrivals per second, random; None for all at once.
        prompt_tokens: Tokens of each prompt.
        tokens: Tokens of each answer.
    """

    shape: Shape
    requests: int
    rate: float | None
    prompt_tokens: int
    tokens: int

    def __str__(self) -> str:
        """Return the name for tables."""
        when = "at once" if self.rate is None else f"at {self.rate:g} per s"
        return f"{self.requests} {self.shape}s {when}"


class LoadError(Exception):
    """A system did not answer all requests."""


def import_client() -> None:
    """Import vLLM's client, which imports most of vLLM."""
    importlib.import_module("vllm.benchmarks.serve")


async def ask(url: str, model: Path, load: Load, seed: int) -> dict[str, float]:
    """Run a load and return the figures of `FIGURES`.

    Args:
        url: URL before the paths of OpenAI's API.
        model: Folder of the model; its tokenizer makes the prompts.
        load: What is asked.
        seed: Of prompts and arrivals.

    Raises:
        LoadError: Not every request was answered with as many tokens as it asked for.
    """
    from vllm.benchmarks import serve
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser()
    serve.add_cli_args(parser)
    options = {
        "backend": BACKENDS[load.shape],
        "base-url": url,
        "endpoint": ROUTES[load.shape],
        "model": model,
        "served-model-name": MODEL,
        "dataset-name": "random",
        "random-input-len": load.prompt_tokens,
        "random-output-len": load.tokens,
        "num-prompts": load.requests,
        "request-rate": "inf" if load.rate is None else load.rate,
        "percentile-metrics": "ttft,tpot,itl,e2el",
        "metric-percentiles": "50,99",
        "temperature": 0,
        "ready-check-timeout-sec": 0,
        "seed": seed,
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    with redirect_stdout(io.StringIO()):
        parsed = parser.parse_args([*arguments, "--ignore-eos", "--disable-tqdm"])
        found: dict[str, Any] = await serve.main_async(parsed)
    wanted = load.requests * load.tokens
    if found["completed"] != load.requests or found["total_output_tokens"] != wanted:
        raise LoadError(
            f"{found['completed']} of {load.requests} requests answered, "
            f"{found['total_output_tokens']} of {wanted} tokens"
        )
    return {name: float(found[key]) for name, key in FIGURES.items()}
