"""Messages API, streams, tools, errors."""

from __future__ import annotations

import anthropic
import pytest
from conftest import ANSWER, CITY, QUESTION

MESSAGES = [{"role": "user", "content": QUESTION}]
GREEDY = {"temperature": 0}  # the client has no argument for it any more
TOOL = {"name": "look_up", "description": "Looks a city up.", "input_schema": CITY}


@pytest.fixture
def client(endpoint):
    base = f"{endpoint.url}/openai"
    with anthropic.Anthropic(base_url=base, api_key="local", max_retries=0) as client:
        yield client


def test_message_is_answered(client, endpoint):
    message = client.messages.create(
        model=endpoint.model, max_tokens=20, messages=MESSAGES, extra_body=GREEDY
    )
    assert ANSWER in message.content[0].text
    assert message.usage.output_tokens <= 20


def test_message_is_streamed(client, endpoint):
    with client.messages.stream(
        model=endpoint.model, max_tokens=20, messages=MESSAGES, extra_body=GREEDY
    ) as stream:
        text = "".join(stream.text_stream)
    assert ANSWER in text


def test_tool_is_called(client, endpoint):
    message = client.messages.create(
        model=endpoint.model,
        max_tokens=80,
        messages=MESSAGES,
        tools=[{**TOOL, "strict": True}],
        tool_choice={"type": "tool", "name": "look_up"},
    )
    [used] = [block for block in message.content if block.type == "tool_use"]
    assert used.name == "look_up"
    assert used.input["name"] in ("Paris", "Rome")


def test_refusal_names_its_reason(client):
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(model="nope", max_tokens=5, messages=MESSAGES)
    assert caught.value.body["error"]["code"] == "model_not_found"
