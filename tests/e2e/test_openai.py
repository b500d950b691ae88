"""The OpenAI-compatible path through the official client."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.e2e.support.deployment import MODEL, TEXT

pytestmark = pytest.mark.asyncio(loop_scope="session")

MESSAGES: Any = [{"role": "user", "content": "Say something, 世界."}]


async def test_models_lists_the_served_name(client: openai.AsyncOpenAI) -> None:
    models = await client.models.list()
    assert [model.id for model in models.data] == [MODEL]


async def test_chat_answers(client: openai.AsyncOpenAI, text_choice: dict[str, Any]) -> None:
    answer = await client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=200, extra_body=text_choice
    )
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens >= len(TEXT)


async def test_chat_streamed_gives_the_same_text_and_usage(
    client: openai.AsyncOpenAI, text_choice: dict[str, Any]
) -> None:
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=MESSAGES,
        max_tokens=200,
        stream=True,
        stream_options={"include_usage": True},
        extra_body=text_choice,
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == TEXT
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens >= len(TEXT)


@pytest.mark.parametrize("interval", [1, 5])
async def test_chat_streamed_in_any_cut_keeps_every_character(
    client: openai.AsyncOpenAI, text_choice: dict[str, Any], interval: int
) -> None:
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=MESSAGES,
        max_tokens=200,
        stream=True,
        extra_body={**text_choice, "stream_interval": interval},
    )
    assert "".join([c.choices[0].delta.content or "" async for c in stream]) == TEXT


async def test_completion_answers(client: openai.AsyncOpenAI, text_choice: dict[str, Any]) -> None:
    answer = await client.completions.create(
        model=MODEL, prompt="Once", max_tokens=200, extra_body=text_choice
    )
    assert answer.choices[0].text == TEXT


async def test_completion_streamed_gives_the_same_text(
    client: openai.AsyncOpenAI, text_choice: dict[str, Any]
) -> None:
    stream = await client.completions.create(
        model=MODEL, prompt="Once", max_tokens=200, stream=True, extra_body=text_choice
    )
    assert "".join([chunk.choices[0].text async for chunk in stream]) == TEXT


REFUSED = [
    pytest.param({"model": "nope"}, "model_not_found", "nope", id="unknown model"),
    pytest.param({"max_tokens": -1}, "invalid_request", "max_tokens", id="bad value"),
    pytest.param({"extra_body": {"temprature": 1}}, "unknown_parameter", "temperature", id="typo"),
    pytest.param({"max_tokens": 9999}, "context_length_exceeded", "2048", id="too long"),
]


@pytest.mark.parametrize(("change", "code", "named"), REFUSED)
async def test_chat_refused_names_the_cause(
    client: openai.AsyncOpenAI, change: dict[str, Any], code: str, named: str
) -> None:
    with pytest.raises(openai.APIError) as caught:
        await client.chat.completions.create(**{"model": MODEL, "messages": MESSAGES, **change})
    assert caught.value.code == code
    assert named in str(caught.value)


@pytest.mark.parametrize(("change", "code", "named"), REFUSED)
async def test_chat_refused_while_streaming_raises_in_the_client(
    client: openai.AsyncOpenAI, change: dict[str, Any], code: str, named: str
) -> None:
    stream = await client.chat.completions.create(
        **{"model": MODEL, "messages": MESSAGES, "stream": True, **change}
    )
    with pytest.raises(openai.APIError) as caught:
        await anext(aiter(stream))
    assert caught.value.code == code
    assert named in str(caught.value.message)


async def test_constraint_without_a_token_is_an_error_within_the_stream(
    client: openai.AsyncOpenAI,
) -> None:
    impossible = {"structured_outputs": {"choice": ["ab"]}, "allowed_token_ids": [300]}
    stream = await client.chat.completions.create(
        model=MODEL, messages=MESSAGES, stream=True, extra_body=impossible
    )
    with pytest.raises(openai.APIError) as caught:
        async for _chunk in stream:
            pass
    assert caught.value.code == "unsatisfiable_constraints"
    assert "allowed_token_ids" in str(caught.value.message)


async def test_route_that_the_model_does_not_serve_is_refused(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.APIError) as caught:
        await client.embeddings.create(model=MODEL, input="text")
    assert caught.value.code == "route_not_served"


async def test_unknown_route_is_refused(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.APIError, match="/v1/chat/completions") as caught:
        await client.post("/chat/completion", body={"model": MODEL}, cast_to=dict[str, Any])
    assert caught.value.code == "unknown_route"
