"""Pydantic AI's agents on `OpenAIChatModel`: plain, streamed, tools, structured output, errors."""

from __future__ import annotations

import asyncio
from typing import Literal

import openai
import pydantic
import pytest
from conftest import ANSWER, QUESTION
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


class City(pydantic.BaseModel):
    """A city."""

    name: Literal["Paris", "Rome"]
    large: bool


@pytest.fixture
def build(endpoint):
    def build(name=endpoint.model, **options):
        client = openai.AsyncOpenAI(base_url=endpoint.openai_url, api_key="local", max_retries=0)
        model = OpenAIChatModel(name, provider=OpenAIProvider(openai_client=client))
        return Agent(model, model_settings={"temperature": 0, "max_tokens": 200}, **options)

    return build


def test_agent_answers(build):
    result = build().run_sync(QUESTION)
    assert ANSWER in result.output
    assert result.usage.output_tokens > 0


def test_agent_streams(build):
    async def read():
        async with build().run_stream(QUESTION) as result:
            return [chunk async for chunk in result.stream_text(delta=True, debounce_by=None)]

    chunks = asyncio.run(read())
    assert ANSWER in "".join(chunks)
    assert len(chunks) > 1


@pytest.mark.parametrize("form", [City, NativeOutput(City)], ids=["tool", "native"])
def test_agent_returns_an_object(build, form):
    assert isinstance(build(output_type=form).run_sync(QUESTION).output, City)


def test_refusal_names_its_reason(build):
    with pytest.raises(ModelHTTPError) as caught:
        build("nope").run_sync(QUESTION)
    assert caught.value.body["code"] == "model_not_found"
