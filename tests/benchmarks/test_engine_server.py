from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from benchmarks.client import BACKENDS, FIGURES, Load, LoadError
from benchmarks.engine_server import build_app, replace_requests
from benchmarks.served import ENGINE, Server, Service

pytestmark = pytest.mark.contract

TOKENS = 3


@pytest.mark.filterwarnings("ignore")  # Of what vLLM imports.
@pytest.mark.parametrize("shape", BACKENDS)
async def test_engine_answers_in_the_process_of_the_client(model, monkeypatch, shape):
    from vllm.benchmarks.lib.endpoint_request_func import ASYNC_REQUEST_FUNCS

    for backend in BACKENDS.values():
        monkeypatch.setitem(ASYNC_REQUEST_FUNCS, backend, ASYNC_REQUEST_FUNCS[backend])
    prompts: list[str] = []
    made = TOKENS

    async def generate(prompt: str, sampling: Any, _id: str) -> AsyncIterator[Any]:
        prompts.append(prompt)
        assert (sampling.max_tokens, sampling.ignore_eos) == (TOKENS, True)
        for number in range(made):
            yield SimpleNamespace(outputs=[SimpleNamespace(token_ids=[number], text="x")])
            await asyncio.sleep(0.02)

    replace_requests(generate, lambda prompt: f"<user>{prompt}")
    load = Load(shape, 2, None, 16, TOKENS)
    async with TestServer(build_app()) as served:
        server = Server(Service(ENGINE, (), {}), Path("log"))
        server.origin = f"http://127.0.0.1:{served.port}"
        figures = await server.ask(model, load, seed=1)
        made -= 1
        with pytest.raises(LoadError, match="2 of 2 requests answered, 4 of 6 tokens"):
            await server.ask(model, load, seed=2)

    assert set(figures) == set(FIGURES)
    assert 15 < figures["itl_p50_ms"] < 1000
    assert figures["end_p99_ms"] > figures["ttft_p50_ms"]
    assert {prompt.startswith("<user>") for prompt in prompts} == {shape == "chat"}
