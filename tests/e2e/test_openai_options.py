"""What the official client reads of an answer's options, whole and streamed."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel, ConfigDict

from tests.e2e.support.deployment import MODEL

pytestmark = pytest.mark.asyncio(loop_scope="session")

MESSAGES: Any = [{"role": "user", "content": "Say something."}]
CHAT: Any = {"model": MODEL, "messages": MESSAGES, "max_tokens": 8}
TEXT: Any = {"model": MODEL, "prompt": "Once", "max_tokens": 8}
ENDLESS = {"ignore_eos": True}


async def test_chat_n_and_logprobs(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        **CHAT, n=3, logprobs=True, top_logprobs=2, extra_body=ENDLESS
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    for choice in answer.choices:
        assert choice.logprobs is not None
        assert choice.logprobs.content is not None
        assert [len(token.top_logprobs) for token in choice.logprobs.content] == [2] * 8
        assert all(token.logprob < 0 for token in choice.logprobs.content)


async def test_chat_n_and_logprobs_streamed(client: openai.AsyncOpenAI) -> None:
    tokens: dict[int, int] = defaultdict(int)
    ends: dict[int, str] = {}
    usage = None
    async for chunk in await client.chat.completions.create(
        **CHAT,
        n=3,
        logprobs=True,
        stream=True,
        stream_options={"include_usage": True},
        extra_body=ENDLESS,
    ):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            if choice.logprobs is not None and choice.logprobs.content is not None:
                tokens[choice.index] += len(choice.logprobs.content)
            if choice.finish_reason:
                ends[choice.index] = choice.finish_reason
    assert tokens == {0: 8, 1: 8, 2: 8}
    assert ends == {0: "length", 1: "length", 2: "length"}
    assert usage is not None
    assert usage.completion_tokens == 24


async def test_completion_logprobs_and_echo(client: openai.AsyncOpenAI) -> None:
    answer = await client.completions.create(**TEXT, logprobs=2, echo=True, extra_body=ENDLESS)
    logprobs = answer.choices[0].logprobs
    assert answer.choices[0].text.startswith("Once")
    assert logprobs is not None
    assert logprobs.token_logprobs is not None
    assert answer.usage is not None
    assert len(logprobs.token_logprobs) == answer.usage.prompt_tokens + 8
    assert logprobs.token_logprobs[0] is None


async def test_completion_of_several_prompts_streamed(client: openai.AsyncOpenAI) -> None:
    texts: dict[int, str] = defaultdict(str)
    async for chunk in await client.completions.create(
        **{**TEXT, "prompt": ["One", "Two"]}, n=2, stream=True, extra_body=ENDLESS
    ):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert sorted(texts) == [0, 1, 2, 3]
    assert all(texts.values())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_stop_string_ends_the_answer(client: openai.AsyncOpenAI, stream: bool) -> None:
    ask: Any = {**CHAT, "max_tokens": 40, "stop": [" wor"]}
    form = {"structured_outputs": {"choice": ["Hello world"]}}
    if stream:
        chunks = [
            chunk.choices[0]
            async for chunk in await client.chat.completions.create(
                **ask, stream=True, extra_body=form
            )
        ]
        text = "".join(choice.delta.content or "" for choice in chunks)
        finish = chunks[-1].finish_reason
    else:
        answer = await client.chat.completions.create(**ask, extra_body=form)
        text, finish = answer.choices[0].message.content or "", answer.choices[0].finish_reason
    assert (text, finish) == ("Hello", "stop")


async def test_best_of_returns_the_likeliest(client: openai.AsyncOpenAI) -> None:
    seeded = {**ENDLESS, "best_of": 5}
    answer = await client.chat.completions.create(**CHAT, n=2, seed=3, extra_body=seeded)
    every = await client.chat.completions.create(
        **CHAT, n=5, seed=3, logprobs=True, extra_body=ENDLESS
    )

    def mean(choice: Any) -> float:
        return sum(token.logprob for token in choice.logprobs.content) / 8

    ranked = sorted(every.choices, key=mean, reverse=True)
    assert [choice.message.content for choice in answer.choices] == [
        choice.message.content for choice in ranked[:2]
    ]
    assert answer.choices[0].logprobs is None


@pytest.mark.parametrize("route", ["chat", "completions"])
async def test_beam_search_answers(client: openai.AsyncOpenAI, route: str) -> None:
    beams = {"use_beam_search": True, **ENDLESS}
    if route == "chat":
        chat = await client.chat.completions.create(**CHAT, n=2, extra_body=beams)
        texts = [choice.message.content for choice in chat.choices]
    else:
        completion = await client.completions.create(**TEXT, n=2, extra_body=beams)
        texts = [choice.text for choice in completion.choices]
    assert len(set(texts)) == 2


class Weather(BaseModel):
    model_config = ConfigDict(extra="forbid")

    city: Literal["Paris"]
    sunny: bool


async def test_client_parses_a_structured_answer(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.parse(
        **{**CHAT, "max_tokens": 400}, response_format=Weather
    )
    parsed = answer.choices[0].message.parsed
    assert parsed is not None
    assert parsed.city == "Paris"


async def test_client_parses_a_structured_stream(client: openai.AsyncOpenAI) -> None:
    async with client.chat.completions.stream(
        **{**CHAT, "max_tokens": 400}, response_format=Weather
    ) as stream:
        answer = await stream.get_final_completion()
    parsed = answer.choices[0].message.parsed
    assert parsed is not None
    assert parsed.city == "Paris"
