"""One real deployment for the whole suite: real vLLM, the real SDK, the local endpoint."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio
from served import TEXT, Api, make_environ
from tiny_model import build_tiny_model

from worker.dev import LocalDeployment
from worker.engine.client import EngineClient
from worker.errors import WorkerError

READY_TIMEOUT_S = 240
"""The first start on a machine also compiles and inspects; later ones take about 12 s."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(READY_TIMEOUT_S + 60))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def worker_output() -> list[str]:
    """Every line that the suite's worker has printed so far."""
    return []


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def deployment(tiny_model: Path, worker_output: list[str]) -> AsyncIterator[LocalDeployment]:
    async with LocalDeployment(
        environ=make_environ(tiny_model),
        on_output=lambda _worker, line: worker_output.append(line),
    ) as running:
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await running.wait_ready()
        except (WorkerError, TimeoutError) as error:
            pytest.fail(f"{error}\n" + "\n".join(worker_output[-40:]))
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def client(deployment: LocalDeployment) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=deployment.endpoint.openai_url, api_key="local", max_retries=0, timeout=60
    ) as connected:
        yield connected


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def api(deployment: LocalDeployment) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession() as session:
        yield Api(session, deployment.endpoint.url)


@pytest.fixture
def text_choice() -> dict[str, Any]:
    """Structured output that makes a random model say `TEXT`."""
    return {"structured_outputs": {"choice": [TEXT]}}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine(deployment: LocalDeployment) -> AsyncIterator[EngineClient]:
    """A connection of our own to the worker's vLLM, past the worker."""
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            arguments = command.read_text().split("\0")
            if "worker.engine.child" in arguments and "--uds" in arguments:
                parent = arguments[arguments.index("worker.engine.child") + 1]
                if int(parent) == deployment.processes[0].pid:
                    client = EngineClient(Path(arguments[arguments.index("--uds") + 1]))
                    break
    else:
        raise LookupError("no engine process below the worker")
    yield client
    await client.close()
