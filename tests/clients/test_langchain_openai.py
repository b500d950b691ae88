"""`ChatOpenAI`: plain, streamed, tools, structured output, errors."""

from __future__ import annotations

from typing import Literal

import openai
import pydantic
import pytest
from conftest import ANSWER, QUESTION
from langchain_openai import ChatOpenAI


class City(pydantic.BaseModel):
    """A city."""

    name: Literal["Paris", "Rome"]
    large: bool


@pytest.fixture
def build(endpoint):
    def build(**more):
        options = {"model": endpoint.model, "temperature": 0, "max_tokens": 200, "max_retries": 0}
        return ChatOpenAI(base_url=endpoint.openai_url, api_key="local", **{**options, **more})

    return build


def test_chat_is_answered(build):
    message = build().invoke(QUESTION)
    assert ANSWER in message.content
    assert message.usage_metadata["output_tokens"] > 0


def test_chat_is_streamed(build):
    chunks = [chunk.content for chunk in build().stream(QUESTION)]
    assert ANSWER in "".join(chunks)
    assert len([chunk for chunk in chunks if chunk]) > 1


def test_tool_is_called(build):
    message = build().bind_tools([City], tool_choice="required", strict=True).invoke(QUESTION)
    [call] = message.tool_calls
    assert call["name"] == "City"
    City.model_validate(call["args"])


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_answer_is_parsed(build, method):
    answer = build().with_structured_output(City, method=method, strict=True).invoke(QUESTION)
    assert isinstance(answer, City)


def test_refusal_names_its_reason(build):
    with pytest.raises(openai.APIError) as caught:
        build(model="nope").invoke(QUESTION)
    assert caught.value.code == "model_not_found"
