"""What the end-to-end tests share: the model, its environment, and RunPod's operations."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import aiohttp
from tiny_model import MAX_MODEL_LEN

from worker.engine.client import EngineClient

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
        **settings,
    }


LONG_SEQUENCES = 16

LONG = {
    "prompt": "On",
    "stream": True,
    "sampling_params": {"n": LONG_SEQUENCES, "max_tokens": 1900, "ignore_eos": True},
}
"""Native input that keeps the engine busy for some seconds."""


async def count_running(engine: EngineClient) -> int:
    """Return how many sequences vLLM works on, by its own metric."""
    async with engine.request("GET", "/metrics") as response:
        for line in (await response.text()).splitlines():
            if line.startswith("vllm:num_requests_running"):
                return int(float(line.split()[-1]))
    raise LookupError("vllm:num_requests_running")


class Api:
    """RunPod's own operations over HTTP."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        async with self._session.request(method, self._url + path, json=body) as response:
            return await response.json()

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
