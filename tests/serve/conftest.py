"""The HTTP server on loopback, with a fake vLLM behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.fakes.engine import FakeEngine, open_engine
from tests.support.ports import free_port
from worker.engine.client import EngineClient
from worker.handler import HandlerOptions
from worker.request import Batching, RequestDefaults
from worker.serve import FollowerMonitor, HttpServer, HttpServerConfig
from worker.stream.flush_policy import StreamLoad
from worker.usage import UsageMeter


class Harness:
    """A server, its fake engine and a client."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.session = aiohttp.ClientSession()
        self.stream_load = StreamLoad(0.02)
        self.timeout_s = 30.0
        self.client: EngineClient
        self.server: HttpServer
        self.followers: FollowerMonitor | None = None
        self.port = 0
        self.health_port = 0

    async def open(self, *, two_ports: bool = False, **options: Any) -> None:
        self.port = free_port()
        self.health_port = free_port() if two_ports else self.port
        defaults = {"health_path": "/ping", "api_key": None, "max_concurrency": 300}
        self.server = HttpServer(
            HttpServerConfig(
                self.port,
                self.health_port,
                host="127.0.0.1",
                **{**defaults, **options},
            ),
            self.followers,
        )
        await self.server.prepare()
        self.client = EngineClient(self.engine.socket_path)

    def begin(self, *, open_control: bool = False, meter: UsageMeter | None = None) -> None:
        defaults = RequestDefaults(
            "tiny", Batching(1, 50, 3.0), max_tokens=16, open_control_routes=open_control
        )
        options = HandlerOptions(defaults, self.timeout_s, meter=meter)
        self.server.start(self.client, self.stream_load, options)

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """Return status and body, as JSON where it is JSON."""
        async with self.request(method, path, **more) as response:
            text = await response.read()
            if response.content_type == "application/json":
                return response.status, await response.json()
            return response.status, text

    def request(self, method: str, path: str, **more: Any) -> Any:
        port = more.pop("port", self.port)
        return self.session.request(method, f"http://127.0.0.1:{port}{path}", **more)


@pytest.fixture
async def harness(tmp_path) -> AsyncIterator[Harness]:
    async with open_engine(tmp_path) as engine:
        harness = Harness(engine)
        yield harness
        await harness.session.close()
        if harness.port:
            await harness.client.close()
            await harness.server.close()


@pytest.fixture
async def ready(harness) -> Harness:
    await harness.open()
    harness.begin()
    return harness
