"""One real deployment for the whole suite: real vLLM, the real SDK, the local endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio

from tests.e2e.support.deployment import (
    READY_TIMEOUT_S,
    TEXT,
    Api,
    connect,
    connect_engine,
    deploy,
    make_environ,
    open_client,
)
from tests.e2e.support.tiny_model import build_tiny_model
from worker.engine.client import EngineClient
from worker_tools.dev import LocalDeployment

pytest.register_assert_rewrite(
    "tests.e2e.support.effects.answer",
    "tests.e2e.support.effects.choice",
    "tests.e2e.support.effects.deployment",
    "tests.e2e.support.effects.end",
    "tests.e2e.support.effects.chunks",
    "tests.e2e.support.effects.reasoning",
)

SETTINGS = {
    "ENABLE_AUTO_TOOL_CHOICE": "true",
    "TOOL_CALL_PARSER": "hermes",
    "TRUST_REQUEST_CHAT_TEMPLATE": "true",
    "ENABLE_PROMPT_TOKENS_DETAILS": "true",
    "MAX_LOGPROBS": "-1",
    "USAGE_RECORDS": "true",
}
"""Settings of the suite's deployment besides the model; they only allow more requests."""


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
    async with deploy(make_environ(tiny_model, **SETTINGS), worker_output) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def client(deployment: LocalDeployment) -> AsyncIterator[openai.AsyncOpenAI]:
    async with open_client(deployment.endpoint.openai_url) as connected:
        yield connected


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def api(deployment: LocalDeployment) -> AsyncIterator[Api]:
    async with connect(deployment) as connected:
        yield connected


@pytest.fixture
def text_choice() -> dict[str, Any]:
    """Structured output that makes a random model say `TEXT`."""
    return {"structured_outputs": {"choice": [TEXT]}}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine(deployment: LocalDeployment) -> AsyncIterator[EngineClient]:
    """A connection of our own to the worker's vLLM, past the worker."""
    client = connect_engine(deployment.processes[0].pid)
    yield client
    await client.close()
