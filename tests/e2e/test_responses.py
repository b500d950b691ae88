"""OpenAI's Responses API through the official client."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.e2e.support.deployment import MODEL
from tests.e2e.support.effects.answer import STRICT

pytestmark = pytest.mark.asyncio(loop_scope="session")

ASK: Any = {"model": MODEL, "input": "Say something.", "max_output_tokens": 12}
SCHEMA = STRICT[0]["function"]["parameters"]


async def test_response_is_answered(client: openai.AsyncOpenAI) -> None:
    response = await client.responses.create(**ASK, instructions="Be brief.", temperature=0.5)
    assert response.status in ("completed", "incomplete")
    assert response.usage is not None
    assert 0 < response.usage.output_tokens <= 12
    assert isinstance(response.output_text, str)


async def test_response_streamed_is_put_together_by_the_client(client: openai.AsyncOpenAI) -> None:
    deltas: list[str] = []
    async with client.responses.stream(**ASK) as stream:
        async for event in stream:
            if event.type == "response.output_text.delta":
                deltas.append(event.delta)
            kind = event.type
        response = await stream.get_final_response()
    assert kind in ("response.completed", "response.incomplete")
    assert "".join(deltas) == response.output_text


async def test_response_obeys_the_json_schema(client: openai.AsyncOpenAI) -> None:
    form: Any = {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}}
    response = await client.responses.create(**{**ASK, "max_output_tokens": 400}, text=form)
    assert json.loads(response.output_text) == {"at": 7}


async def test_response_calls_a_tool(client: openai.AsyncOpenAI) -> None:
    tools: Any = [{"type": "function", **STRICT[1]["function"]}]
    response = await client.responses.create(
        **{**ASK, "max_output_tokens": 400},
        tools=tools,
        tool_choice="required",
        # A model of random weights may call again and again until its tokens are used up.
        parallel_tool_calls=False,
    )
    calls = [item for item in response.output if item.type == "function_call"]
    assert calls[0].name == "map"
    assert json.loads(calls[0].arguments) == {"at": 7}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_refusal_reaches_the_client(client: openai.AsyncOpenAI, stream: bool) -> None:
    async def read() -> None:
        if not stream:
            await client.responses.create(**{**ASK, "model": "nope"})
        async for _event in await client.responses.create(**{**ASK, "model": "nope"}, stream=True):
            pass

    with pytest.raises(openai.APIError) as caught:
        await read()
    assert caught.value.code == "model_not_found"
