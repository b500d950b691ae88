"""What the end-to-end tests share: the model, its environment, and RunPod's operations."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from benchmarks.processes import find_socket
from tests.e2e.support.tiny_model import MAX_MODEL_LEN
from worker.engine.client import EngineClient
from worker.errors import WorkerError
from worker_tools.dev import LocalDeployment

MODEL = "tiny"

TEXT = "Straße, 世界, 🎉 and plain words."
"""One-, two-, three- and four-byte characters, each of several tokens in the tiny model."""


def make_environ(model: Path, **settings: str) -> dict[str, str]:
    """The environment in which a worker serves `model`, a tiny one."""
    return {
        **os.environ,
        "MODEL_NAME": str(model),
        "OPENAI_SERVED_MODEL_NAME_OVERRIDE": MODEL,
        "LOAD_FORMAT": "dummy",
        "MAX_MODEL_LEN": str(MAX_MODEL_LEN),
        "HF_HUB_OFFLINE": "1",
        # On a CPU, vLLM compiles one function for the first log-probabilities: 20 s on two cores.
        "TORCH_COMPILE_DISABLE": "1",
        **settings,
    }


READY_TIMEOUT_S = 240
"""The first start on a machine also compiles and inspects; later ones take about 12 s."""


@asynccontextmanager
async def deploy(environ: dict[str, str], output: list[str]) -> AsyncIterator[LocalDeployment]:
    """Serve, until the context ends; whatever the worker prints is added to `output`."""
    async with LocalDeployment(
        environ=environ, on_output=lambda _worker, line: output.append(line)
    ) as running:
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await running.wait_ready()
        except (WorkerError, TimeoutError) as error:
            pytest.fail(f"{error}\n" + "\n".join(output[-40:]))
        yield running


@asynccontextmanager
async def connect(deployment: LocalDeployment) -> AsyncIterator[Api]:
    """Connect to RunPod's own operations."""
    async with aiohttp.ClientSession() as session:
        yield Api(session, deployment.endpoint.url)


def open_client(url: str, key: str = "local") -> openai.AsyncOpenAI:
    """Return the official client of the API below `url`; it raises the first error."""
    return openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0, timeout=60)


LONG_SEQUENCES = 16

LONG_TOKENS = 1900
"""Tokens of each of them."""

LONG = {
    "prompt": "On",
    "stream": True,
    "sampling_params": {"n": LONG_SEQUENCES, "max_tokens": LONG_TOKENS, "ignore_eos": True},
}
"""Native input that keeps the engine busy for some seconds."""

LONGER_SEQUENCES = 12 * LONG_SEQUENCES
"""So many of them keep a fast one busy for longer than any deadline of a test."""


async def read_metric(engine: EngineClient, name: str) -> float:
    """Return the value of one of vLLM's own metrics."""
    async with engine.request("GET", "/metrics") as response:
        for line in (await response.text()).splitlines():
            if line.startswith((f"{name} ", f"{name}{{")):
                return float(line.split()[-1])
    raise LookupError(name)


async def count_running(engine: EngineClient) -> int:
    """Return how many sequences vLLM works on."""
    return int(await read_metric(engine, "vllm:num_requests_running"))


@asynccontextmanager
async def expect_abort(engine: EngineClient, sequences: int) -> AsyncIterator[None]:
    """Expect that a request for so many sequences of `LONG_TOKENS` is aborted in the context.

    At its end, vLLM soon works on nothing, no block of its KV cache is taken, and it has generated
    less than the request asked for.
    """
    before = await read_metric(engine, GENERATED)
    yield
    # A busy machine takes its time: vLLM's server first reads what the engine has generated.
    async with asyncio.timeout(60):
        while await count_running(engine) or await read_metric(engine, KV_CACHE_USAGE):
            await asyncio.sleep(0.02)
    generated = await read_metric(engine, GENERATED) - before
    assert generated < sequences * LONG_TOKENS, "it ran to its end"


KV_CACHE_USAGE = "vllm:kv_cache_usage_perc"
GENERATED = "vllm:generation_tokens_total"


def connect_engine(worker_pid: int) -> EngineClient:
    """Return a connection of our own to a worker's vLLM, past the worker."""
    return EngineClient(find_socket(worker_pid))


class Api:
    """RunPod's own operations over HTTP."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else io.BytesIO(json.dumps(body).encode())
        headers = {"Content-Type": "application/json"}
        async with self._session.request(
            method, self._url + path, data=data, headers=headers
        ) as response:
            return await response.json()

    async def read(self, method: str, path: str, body: Any = None) -> str:
        """Return an answer as the text that it is."""
        async with self._session.request(method, self._url + path, json=body) as response:
            return await response.text()

    async def runsync(self, job_input: Any) -> Any:
        return await self.call("POST", "/runsync", {"input": job_input})

    async def run(self, job_input: Any) -> str:
        return str((await self.call("POST", "/run", {"input": job_input}))["id"])

    async def wait_for(self, job_id: str, *states: str) -> Any:
        while True:
            status = await self.call("GET", f"/status/{job_id}")
            if status["status"] in states:
                return status
            await asyncio.sleep(0.02)
