"""A server of our own in vLLM's place."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from worker.engine.client import EngineClient


@pytest.fixture
async def serve(tmp_path) -> AsyncIterator:
    """Answer every request with a function, on a Unix socket, and give a client of it."""
    runners: list[web.AppRunner] = []
    clients: list[EngineClient] = []

    async def start(answer) -> EngineClient:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.UnixSite(runner, str(tmp_path / "s")).start()
        runners.append(runner)
        clients.append(EngineClient(tmp_path / "s"))
        return clients[-1]

    yield start
    for client in clients:
        await client.close()
    for runner in runners:
        await runner.cleanup()
