"""What both commands do first: find the endpoint, its model and its GPU, and start the load."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from rich.console import Console

from worker.machine import detect_machine
from worker.profile.pools import Pool, find_device_pool
from worker.request.routes import CHAT, COMPLETIONS
from worker_tools.batch.command import UsageError, find_gpu
from worker_tools.batch.input_file import InputFile, read_input_file
from worker_tools.tune.choice import Rent
from worker_tools.tune.load import LoadGenerator, Result, Workload
from worker_tools.tune.measurement import Load
from worker_tools.tune.options import WorkloadOptions
from worker_tools.tune.target import (
    FirstRequest,
    Model,
    Target,
    ask_models,
    find_model,
    try_request,
)
from worker_tools.tune.workers import WorkerWatch

MAX_LINE_BYTES = 20 * 1024**2


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the command line says about load and price, checked before anything is sent.

    Attributes:
        requests: The user's own requests.
        route: Route of OpenAI's API.
        pool: Named GPU.
    """

    requests: InputFile | None
    route: str
    pool: Pool | None


@dataclass(frozen=True, slots=True)
class Session:
    """An endpoint that answers.

    Attributes:
        target: Its address.
        workload: What is asked.
        first: What the first request found.
        generator: Sends the load.
        watch: Counts cold starts.
        warm_up: A single request.
        own_requests: How many the user's file has; None for random ones.
    """

    target: Target
    workload: Workload
    first: FirstRequest
    generator: LoadGenerator
    watch: WorkerWatch
    warm_up: Result
    own_requests: int | None

    @property
    def repeats(self) -> bool:
        """Whether a request of the user's was sent more than once."""
        return self.own_requests is not None and self.generator.sent > self.own_requests


def check_inputs(options: WorkloadOptions) -> Inputs:
    """Return the checked options.

    Raises:
        WorkerError: The file or the GPU cannot be used.
        OSError: The file cannot be read.
    """
    pool = find_gpu(options.gpu)
    if options.requests_file is None:
        return Inputs(None, COMPLETIONS, pool)
    requests = read_input_file(options.requests_file, MAX_LINE_BYTES)
    routes = {orjson.loads(line)["url"] for line in requests.read(requests.lines)}
    if len(routes) != 1 or not routes <= {CHAT, COMPLETIONS}:
        raise UsageError(
            f"{options.requests_file}: a load has requests of one route, {CHAT} or {COMPLETIONS}; "
            f"this file has {', '.join(sorted(routes)) or 'none'}"
        )
    return Inputs(requests, routes.pop(), pool)


def read_bodies(inputs: Inputs) -> Iterator[dict[str, Any]]:
    """Yield the bodies of the user's own requests."""
    if inputs.requests is not None:
        for line in inputs.requests.read(inputs.requests.lines):
            yield orjson.loads(line)["body"]


@asynccontextmanager
async def open_session(
    environ: Mapping[str, str],
    target: Target,
    options: WorkloadOptions,
    inputs: Inputs,
    notes: Console,
) -> AsyncIterator[Session]:
    """Send the first request, and start the load generator.

    Raises:
        WorkerError: The endpoint cannot be used; the message has the next step.
    """
    async with WorkerWatch(target) as watch:
        notes.print(f"Waiting for {target.base_url}", markup=False, soft_wrap=True)
        first = await ask_models(target, options.timeout)
        model = find_model(first.models, options.model)
        workload = make_workload(options, inputs, model)
        body = next(read_bodies(inputs), {"prompt": "Hello", "max_tokens": 1})
        await try_request(target, inputs.route, {**body, "model": workload.model}, options.timeout)
        notes.print("Importing vLLM for its client")
        async with LoadGenerator(environ, target, workload) as generator:
            # The first request of a new process or worker is slower than any later one.
            warm_up = await generator.run(Load(requests=1, concurrency=1), lambda *_: None)
            own = None if inputs.requests is None else len(inputs.requests.lines)
            yield Session(target, workload, first, generator, watch, warm_up, own)


def make_workload(options: WorkloadOptions, inputs: Inputs, model: Model) -> Workload:
    """Return what is asked of a model.

    Raises:
        UsageError: The model takes no such request.
    """
    own = inputs.requests is not None
    asked = options.prompt_tokens + options.answer_tokens
    if not own and model.max_tokens is not None and asked > model.max_tokens:
        raise UsageError(
            f"{asked} tokens of prompt and answer are more than the {model.max_tokens} that "
            f"{model.name} takes here; lower --prompt-tokens or --answer-tokens, or raise "
            "MAX_MODEL_LEN of the worker"
        )
    return Workload(
        route=inputs.route,
        model=model.name,
        prompt_tokens=options.prompt_tokens,
        answer_tokens=options.answer_tokens,
        requests_file=options.requests_file,
        tokenizer=options.tokenizer or (None if own else model.root),
        timeout_s=options.timeout,
    )


def find_rent(
    environ: Mapping[str, str], target: Target, pool: Pool | None, gpus: int
) -> Rent | None:
    """Return the GPUs of the endpoint; None if they are not known.

    Those of a server on this machine are the machine's.
    """
    if pool is None and target.is_local:
        name = detect_machine(environ).gpu_name
        pool = find_device_pool(name) if name else None
    return Rent(pool, gpus) if pool is not None else None
