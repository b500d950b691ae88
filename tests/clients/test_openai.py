"""Chat, completion, Responses API, streams, tools, structured output, errors."""

from __future__ import annotations

import json
from typing import Literal

import openai
import pydantic
import pytest
from conftest import ANSWER, CITY, QUESTION

MESSAGES = [{"role": "user", "content": QUESTION}]
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": CITY, "strict": True}}


class City(pydantic.BaseModel):
    name: Literal["Paris", "Rome"]
    large: bool


@pytest.fixture
def client(endpoint):
    with openai.OpenAI(base_url=endpoint.openai_url, api_key="local", max_retries=0) as client:
        yield client


def test_chat_is_answered(client, endpoint):
    chat = client.chat.completions.create(
        model=endpoint.model, messages=MESSAGES, max_tokens=20, temperature=0
    )
    assert ANSWER in chat.choices[0].message.content
    assert chat.usage.completion_tokens <= 20


def test_chat_is_streamed(client, endpoint):
    stream = client.chat.completions.create(
        model=endpoint.model,
        messages=MESSAGES,
        max_tokens=20,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert ANSWER in "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert chunks[-1].usage.completion_tokens <= 20


def test_completion_is_answered(client, endpoint):
    completion = client.completions.create(
        model=endpoint.model, prompt="The capital of France is", max_tokens=5, temperature=0
    )
    assert ANSWER in completion.choices[0].text


def test_response_is_streamed(client, endpoint):
    with client.responses.stream(
        model=endpoint.model, input=QUESTION, max_output_tokens=20, temperature=0
    ) as stream:
        kinds = [event.type for event in stream]
        response = stream.get_final_response()
    assert "response.output_text.delta" in kinds
    assert ANSWER in response.output_text


def test_tool_is_called(client, endpoint):
    chat = client.chat.completions.create(
        model=endpoint.model, messages=MESSAGES, tools=[TOOL], tool_choice="required"
    )
    call = chat.choices[0].message.tool_calls[0]
    assert call.function.name == "look_up"
    City.model_validate(json.loads(call.function.arguments))


def test_answer_is_parsed(client, endpoint):
    chat = client.chat.completions.parse(
        model=endpoint.model, messages=MESSAGES, response_format=City, max_tokens=60
    )
    assert isinstance(chat.choices[0].message.parsed, City)


@pytest.mark.parametrize("stream", [False, True])
def test_refusal_names_its_reason(client, endpoint, stream):
    with pytest.raises(openai.APIError) as caught:
        list(client.chat.completions.create(model="nope", messages=MESSAGES, stream=stream))
    assert caught.value.code == "model_not_found"
    assert "nope" in caught.value.message
