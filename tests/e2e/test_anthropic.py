"""/v1/messages through the official Anthropic client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
import pytest_asyncio

from tests.e2e.support.deployment import MODEL
from tests.e2e.support.effects.answer import STRICT
from worker_tools.dev import LocalDeployment

pytestmark = pytest.mark.asyncio(loop_scope="session")

MESSAGES: Any = [{"role": "user", "content": "Hello, 世界."}]
TOOLS: Any = [
    {
        "name": tool["function"]["name"],
        "description": "Tells.",
        "input_schema": tool["function"]["parameters"],
        "strict": True,
    }
    for tool in STRICT
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def claude(deployment: LocalDeployment) -> AsyncIterator[anthropic.AsyncAnthropic]:
    base = deployment.endpoint.openai_url.removesuffix("/v1")
    async with anthropic.AsyncAnthropic(
        base_url=base, api_key="local", max_retries=0, timeout=60
    ) as connected:
        yield connected


async def test_message_is_answered(claude: anthropic.AsyncAnthropic) -> None:
    message = await claude.messages.create(
        model=MODEL, max_tokens=5, system="Be brief.", messages=MESSAGES
    )
    assert message.role == "assistant"
    assert message.content[0].type == "text"
    assert message.stop_reason in ("max_tokens", "end_turn")
    assert 0 < message.usage.output_tokens <= 5
    assert message.usage.input_tokens > 10


async def test_message_streamed_is_put_together_by_the_client(
    claude: anthropic.AsyncAnthropic,
) -> None:
    texts: list[str] = []
    async with claude.messages.stream(
        model=MODEL, max_tokens=40, messages=MESSAGES, stop_sequences=["never said"]
    ) as stream:
        async for text in stream.text_stream:
            texts.append(text)
        message = await stream.get_final_message()
    block = message.content[0]
    assert block.type == "text"
    assert block.text == "".join(texts)
    assert 0 < message.usage.output_tokens <= 40


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_forced_tool_is_used(claude: anthropic.AsyncAnthropic, stream: bool) -> None:
    ask: dict[str, Any] = {
        "model": MODEL,
        "max_tokens": 600,
        "messages": MESSAGES,
        "tools": TOOLS,
        "tool_choice": {"type": "tool", "name": "map"},
    }
    if stream:
        async with claude.messages.stream(**ask) as events:
            message = await events.get_final_message()
    else:
        message = await claude.messages.create(**ask)
    used = [block for block in message.content if block.type == "tool_use"]
    assert [(block.name, block.input) for block in used] == [("map", {"at": 7})]


async def test_tokens_are_counted(claude: anthropic.AsyncAnthropic) -> None:
    counted = await claude.messages.count_tokens(model=MODEL, messages=MESSAGES)
    answer = await claude.messages.create(model=MODEL, max_tokens=1, messages=MESSAGES)
    assert counted.input_tokens == answer.usage.input_tokens


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_refusal_reaches_the_client(claude: anthropic.AsyncAnthropic, stream: bool) -> None:
    ask: dict[str, Any] = {"model": "nope", "max_tokens": 5, "messages": MESSAGES}

    async def read() -> None:
        if not stream:
            await claude.messages.create(**ask)
        async for _event in await claude.messages.create(**ask, stream=True):
            pass

    with pytest.raises(anthropic.APIStatusError) as caught:
        await read()
    body: Any = caught.value.body
    assert body["error"]["code"] == "model_not_found"
    assert "nope" in body["error"]["message"]
