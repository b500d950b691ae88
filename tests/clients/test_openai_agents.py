"""OpenAI's agents on the Responses and the chat API: plain, streamed, tools, objects, errors."""

from __future__ import annotations

import asyncio
from typing import Literal

import openai
import pydantic
import pytest
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
)
from conftest import ANSWER, QUESTION

MODELS = pytest.mark.parametrize("kind", [OpenAIChatCompletionsModel, OpenAIResponsesModel])


class City(pydantic.BaseModel):
    """A city."""

    name: Literal["Paris", "Rome"]
    large: bool


@pytest.fixture
def build(endpoint):
    def build(kind, name=endpoint.model, settings=None, **options):
        client = openai.AsyncOpenAI(base_url=endpoint.openai_url, api_key="local", max_retries=0)
        return Agent(
            name="guide",
            model=kind(model=name, openai_client=client),
            model_settings=ModelSettings(temperature=0, max_tokens=200, **(settings or {})),
            **options,
        )

    return build


@MODELS
def test_agent_answers(build, kind):
    assert ANSWER in asyncio.run(Runner.run(build(kind), QUESTION)).final_output


@MODELS
def test_agent_streams(build, kind):
    async def read():
        result = Runner.run_streamed(build(kind), QUESTION)
        events = [event async for event in result.stream_events()]
        kinds = [event.data.type for event in events if event.type == "raw_response_event"]
        return result.final_output, kinds

    text, kinds = asyncio.run(read())
    assert ANSWER in text
    assert kinds.count("response.output_text.delta") > 1


@MODELS
def test_agent_calls_its_tool(build, kind):
    called = []

    @function_tool
    def look_up(name: Literal["Paris", "Rome"], large: bool) -> str:
        """Look a city up."""
        called.append(name)
        return "It is the capital."

    agent = build(kind, tools=[look_up], settings={"tool_choice": "required"})
    result = asyncio.run(Runner.run(agent, QUESTION, max_turns=3))
    assert called in (["Paris"], ["Rome"])
    assert result.final_output


@MODELS
def test_agent_returns_an_object(build, kind):
    result = asyncio.run(Runner.run(build(kind, output_type=City), QUESTION))
    assert isinstance(result.final_output, City)


@MODELS
def test_refusal_names_its_reason(build, kind):
    with pytest.raises(openai.APIError) as caught:
        asyncio.run(Runner.run(build(kind, "nope"), QUESTION))
    assert caught.value.code == "model_not_found"
