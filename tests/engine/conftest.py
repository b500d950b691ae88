"""A fake vLLM and clients of it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.fakes.engine import open_engine
from worker.engine.client import EngineClient


@pytest.fixture
async def serve(tmp_path) -> AsyncIterator:
    """Answer every request with a function, on a Unix socket, and give a client of it."""
    clients: list[EngineClient] = []
    async with AsyncExitStack() as engines:

        async def start(answer) -> EngineClient:
            engine = await engines.enter_async_context(open_engine(tmp_path, answer))
            engine.reads_bodies = False
            clients.append(EngineClient(engine.socket_path))
            return clients[-1]

        yield start
        for client in clients:
            await client.close()
