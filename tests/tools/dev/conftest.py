"""A local endpoint per test, and clients that speak each side of its API."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from worker_tools.dev import LocalDeployment, LocalEndpoint

STOCK_WORKER = Path(__file__).parent / "stock_worker.py"


class StockDeployment(LocalDeployment):
    """A deployment whose workers run the SDK's own loop with a trivial handler."""

    command = (sys.executable, str(STOCK_WORKER))


class Api:
    """Calls an endpoint as its clients and as a worker would."""

    def __init__(self, endpoint: LocalEndpoint, session: aiohttp.ClientSession) -> None:
        self.endpoint = endpoint
        self.session = session

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        async with self.session.request(method, self.endpoint.url + path, **options) as response:
            if response.content_type == "application/json":
                return response.status, await response.json()
            return response.status, await response.text()

    async def run(self, job_input: Any = "x", **members: Any) -> str:
        status, body = await self.call("POST", "/run", json={"input": job_input, **members})
        assert status == 200, body
        return str(body["id"])

    async def status(self, job_id: str) -> Any:
        return (await self.call("GET", f"/status/{job_id}"))[1]

    async def take(self, worker: str = "w1") -> Any:
        return (await self.call("GET", f"/job-take/{worker}?gpu=x&job_in_progress=0"))[1]

    async def take_batch(self, count: int, worker: str = "w1") -> Any:
        path = f"/job-take-batch/{worker}?gpu=x&batch_size={count}&job_in_progress=0"
        return (await self.call("GET", path))[1]

    async def stream(self, job_id: str, output: Any, worker: str = "w1") -> int:
        path = f"/job-stream/{worker}/{job_id}?gpu=x&isStream=false"
        return (await self.call("POST", path, json={"output": output}))[0]

    async def done(self, job_id: str, body: Any, worker: str = "w1") -> int:
        path = f"/job-done/{worker}/{job_id}?gpu=x&isStream=true"
        return (await self.call("POST", path, json=body))[0]


Start = Callable[..., Awaitable[Api]]


@pytest.fixture(scope="session")
def stock_deployment() -> type[StockDeployment]:
    return StockDeployment


@pytest.fixture(scope="session")
def connect() -> type[Api]:
    return Api


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(timeout=timeout) as opened:
        yield opened


@pytest.fixture
async def start(session: aiohttp.ClientSession) -> AsyncIterator[Start]:
    """Start an endpoint with the given constructor arguments."""
    started: list[LocalEndpoint] = []

    async def start_endpoint(**options: Any) -> Api:
        endpoint = LocalEndpoint(**options)
        await endpoint.start()
        started.append(endpoint)
        return Api(endpoint, session)

    yield start_endpoint
    for endpoint in started:
        await endpoint.stop()


@pytest.fixture
async def api(start: Start) -> Api:
    return await start()
