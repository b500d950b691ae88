"""The load, from vLLM's own client for benchmarks (`vllm bench serve`), one load after the other.

Run as `python -m worker_tools.tune.load_process REPORT_FD`. Each line of stdin is a load as JSON;
each line that is written to REPORT_FD is progress, a result or an error. The key is read from
OPENAI_API_KEY, as vLLM's client does. One process for all loads: the import of vLLM takes longer
than many a load.

Of vLLM it uses `add_cli_args`, `main_async`, `get_samples`, `get_tokenizer`, `ASYNC_REQUEST_FUNCS`,
`SampleRequest` and `RequestFuncOutput`; `tests/e2e/test_tune.py` fails when one of them changes.
"""

from __future__ import annotations

import asyncio
import collections
import json
import os
import sys
import time
import types
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from worker.errors import shorten

BACKENDS = {"/v1/chat/completions": "openai-chat", "/v1/completions": "openai"}
BODY_MEMBERS = {"model", "messages", "prompt", "stream", "stream_options"}
"""Members of a request's body that vLLM's client sets itself."""

FEWEST = 8
"""Failures after which a load in which nothing else happens is given up."""

SKIPPED = "not sent after the failures before it"
REASON_CHARS = 200

Report = Callable[..., None]


async def run(load: dict[str, Any], report: Report) -> dict[str, Any]:
    """Run one load and return the figures of vLLM's client."""
    from vllm.benchmarks import serve
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    backend = BACKENDS[load["route"]]
    parser = FlexibleArgumentParser()
    serve.add_cli_args(parser)
    options = {
        "backend": backend,
        "base-url": load["base_url"],
        "endpoint": load["route"],
        "model": load["model"],
        "tokenizer": load["tokenizer"],
        "num-prompts": load["requests"],
        "request-rate": load["rate"] or "inf",
        "max-concurrency": load["concurrency"],
        "random-input-len": load["prompt_tokens"],
        "random-output-len": load["answer_tokens"],
        "percentile-metrics": "ttft,tpot,e2el",
        "metric-percentiles": "50,95,99",
        "ready-check-timeout-sec": 0,
        "seed": load["seed"],
    }
    own = read_bodies(Path(load["requests_file"])) if load["requests_file"] else []
    flags = [] if own else ["--temperature", "0"]
    given = [f"--{name}={value}" for name, value in options.items() if value is not None]
    arguments = parser.parse_args([*given, *flags, "--disable-tqdm", "--save-detailed"])
    original = {name: getattr(serve, name) for name in ("get_samples", "get_tokenizer")}
    if own:
        numbers = range(load["first"], load["first"] + load["requests"])
        serve.get_samples = lambda *_: [make_sample(own[n % len(own)]) for n in numbers]
        arguments.dataset_name = "custom"
        if load["tokenizer"] is None:
            serve.get_tokenizer = lambda *_, **__: count_nothing
    ask = serve.ASYNC_REQUEST_FUNCS[backend]
    serve.ASYNC_REQUEST_FUNCS[backend] = watch(ask, load["timeout_s"], report)
    try:
        found: dict[str, Any] = await serve.main_async(arguments)
    finally:
        serve.ASYNC_REQUEST_FUNCS[backend] = ask
        vars(serve).update(original)
    wanted = ("duration", "completed", "failed", "total_input_tokens", "total_output_tokens")
    figures = {name: value for name, value in found.items() if name.endswith("_ms")}
    errors = collections.Counter(error for error in found["errors"] if error)
    kept = {name: found[name] for name in (*wanted, "start_times")}
    return {**figures, **kept, "errors": dict(errors.most_common(10))}


def count_nothing(text: str, **_: Any) -> Any:
    """Stand in for a tokenizer: vLLM's client wants one, but calls it only without a usage.

    Raises:
        ValueError: The tokens of an answer have to be counted.
    """
    if text:
        raise ValueError("the endpoint's answers have no usage; name --tokenizer")
    return types.SimpleNamespace(input_ids=[])


def read_bodies(path: Path) -> list[dict[str, Any]]:
    """Return the requests of a file in OpenAI's batch format."""
    return [json.loads(line)["body"] for line in path.read_bytes().splitlines() if line.strip()]


def make_sample(body: dict[str, Any]) -> Any:
    """Return a request of the user's for vLLM's client."""
    from vllm.benchmarks.datasets import SampleRequest

    # vLLM's client sends a limit of its own unless the body has one; null means no limit.
    limits = {"max_completion_tokens": None} if "messages" in body else {"max_tokens": None}
    overrides = {name: value for name, value in body.items() if name not in BODY_MEMBERS}
    return SampleRequest(
        prompt=body.get("prompt", ""),
        prompt_len=1,  # the answer's usage has the true one
        expected_output_len=1,
        chat_messages=body.get("messages"),
        request_overrides={**limits, **overrides},
    )


def watch(
    ask: Callable[..., Awaitable[Any]], timeout_s: float, report: Report
) -> Callable[..., Awaitable[Any]]:
    """Return vLLM's function for one request with a time limit, progress and an early end."""
    from vllm.benchmarks.lib.endpoint_request_func import RequestFuncOutput

    done = failed = 0

    async def watched(request_func_input: Any, session: Any, pbar: Any = None) -> Any:
        nonlocal done, failed
        output = RequestFuncOutput(start_time=time.perf_counter())
        if failed >= FEWEST and failed == done:
            output.error = SKIPPED
            return output
        try:
            async with asyncio.timeout(timeout_s):
                output = await ask(request_func_input, session, pbar)
        except TimeoutError:
            output.error = f"no answer within {timeout_s:g} s"
        done += 1
        failed += not output.success
        if not output.success:
            output.error = last_line(output.error)
        report(done=done, failed=failed)
        return output

    return watched


def last_line(text: str) -> str:
    """Return the last line of a traceback, or the reason of an HTTP status."""
    lines = text.strip().splitlines() or ["no reason given"]
    return shorten(lines[-1], REASON_CHARS)


def main(descriptor: int) -> None:
    """Run each load of stdin."""

    def report(**message: Any) -> None:
        os.write(descriptor, json.dumps(message).encode() + b"\n")

    for line in sys.stdin:
        try:
            report(result=asyncio.run(run(json.loads(line), report)))
        except (Exception, SystemExit) as error:  # noqa: BLE001  # it is reported
            report(error=last_line(f"{type(error).__name__}: {error}"))


if __name__ == "__main__":
    main(int(sys.argv[1]))
