"""`completion` with the provider `openai/`: plain, streamed, tools, structured output, errors."""

from __future__ import annotations

import litellm
import pytest
from conftest import ANSWER, CITY, QUESTION, read_city

TOOL = {"type": "function", "function": {"name": "look_up", "parameters": CITY, "strict": True}}


@pytest.fixture
def ask(endpoint):
    def ask(**more):
        options = {"model": f"openai/{endpoint.model}", "temperature": 0, "max_tokens": 200}
        return litellm.completion(
            messages=[{"role": "user", "content": QUESTION}],
            api_base=endpoint.openai_url,
            api_key="local",
            num_retries=0,
            **{**options, **more},
        )

    return ask


def test_chat_is_answered(ask):
    assert ANSWER in ask().choices[0].message.content


def test_chat_is_streamed(ask):
    chunks = [chunk.choices[0].delta.content or "" for chunk in ask(stream=True)]
    assert ANSWER in "".join(chunks)


def test_text_is_continued(endpoint):
    text = litellm.text_completion(
        model=f"text-completion-openai/{endpoint.model}",
        prompt="The capital of France is",
        api_base=endpoint.openai_url,
        api_key="local",
        max_tokens=5,
        temperature=0,
    )
    assert ANSWER in text.choices[0].text


def test_tool_is_called(ask):
    call = ask(tools=[TOOL], tool_choice="required").choices[0].message.tool_calls[0]
    assert call.function.name == "look_up"
    read_city(call.function.arguments)


def test_answer_has_the_form(ask):
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    read_city(ask(response_format=form).choices[0].message.content)


def test_refusal_names_its_reason(ask):
    with pytest.raises(litellm.exceptions.InternalServerError, match="`nope` does not exist"):
        ask(model="openai/nope")
