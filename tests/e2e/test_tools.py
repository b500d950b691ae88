"""Tool calls through the official client: auto, required, named, parallel; whole and streamed."""

from __future__ import annotations

import json
from typing import Any, cast

import openai
import pytest

from tests.e2e.support.deployment import MODEL
from tests.e2e.support.effects.answer import CALL, STRICT, TOOLS, TWO_CALLS, say

pytestmark = pytest.mark.asyncio(loop_scope="session")

MESSAGES: Any = [{"role": "user", "content": "What time is it?"}]
ASK: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, "max_tokens": 600}

Called = list[tuple[str, dict[str, Any]]]


async def call_tools(
    client: openai.AsyncOpenAI, *, stream: bool, **parameters: Any
) -> tuple[Called, str, str | None]:
    """Return the calls, the text next to them, and why the answer ended."""
    if not stream:
        answer = await client.chat.completions.create(**{**ASK, **parameters})
        message = answer.choices[0].message
        calls = [(call.function.name, call.function.arguments) for call in message.tool_calls or []]
        return parse(calls), message.content or "", answer.choices[0].finish_reason
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    text, finish = "", None
    async for chunk in await client.chat.completions.create(**{**ASK, **parameters}, stream=True):
        choice = chunk.choices[0]
        text += choice.delta.content or ""
        finish = choice.finish_reason or finish
        for part in choice.delta.tool_calls or []:
            names[part.index] = names.get(part.index, "") + (part.function.name or "")
            arguments[part.index] = arguments.get(part.index, "") + (part.function.arguments or "")
    return parse([(names[index], arguments[index]) for index in sorted(names)]), text, finish


def parse(calls: list[tuple[str, str]]) -> Called:
    return [(name, json.loads(arguments)) for name, arguments in calls]


STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@STREAM
async def test_auto_call_next_to_a_text(client: openai.AsyncOpenAI, stream: bool) -> None:
    chosen = say("Well. " + CALL)
    limit = chosen.pop("max_tokens")
    calls, text, finish = await call_tools(
        client, stream=stream, tools=TOOLS, tool_choice="auto", max_tokens=limit, extra_body=chosen
    )
    assert calls == [("clock", {"at": 7})]
    assert text.strip() == "Well."
    assert finish == "tool_calls"


@STREAM
@pytest.mark.parametrize(("parallel", "count"), [(True, 2), (False, 1)])
async def test_auto_calls_in_parallel(
    client: openai.AsyncOpenAI, stream: bool, parallel: bool, count: int
) -> None:
    calls, _text, _finish = await call_tools(
        client,
        stream=stream,
        tools=TOOLS,
        parallel_tool_calls=parallel,
        extra_body={"structured_outputs": say(TWO_CALLS)["structured_outputs"]},
    )
    assert calls == [("clock", {"at": 7}), ("map", {"at": 7})][:count]


@STREAM
async def test_required_calls_some_tool(client: openai.AsyncOpenAI, stream: bool) -> None:
    calls, _text, _finish = await call_tools(
        client, stream=stream, tools=STRICT, tool_choice="required", parallel_tool_calls=False
    )
    assert calls[0] in [("clock", {"at": 7}), ("map", {"at": 7})]


@STREAM
async def test_named_calls_that_tool(client: openai.AsyncOpenAI, stream: bool) -> None:
    named = {"type": "function", "function": {"name": "map"}}
    calls, _text, _finish = await call_tools(client, stream=stream, tools=STRICT, tool_choice=named)
    assert calls == [("map", {"at": 7})]


@STREAM
async def test_none_leaves_a_call_as_text(client: openai.AsyncOpenAI, stream: bool) -> None:
    calls, text, finish = await call_tools(
        client,
        stream=stream,
        tools=TOOLS,
        tool_choice="none",
        extra_body={"structured_outputs": say(CALL)["structured_outputs"]},
    )
    assert (calls, text, finish) == ([], CALL, "stop")


async def test_conversation_with_a_tools_answer_goes_on(client: openai.AsyncOpenAI) -> None:
    function = {"name": "clock", "arguments": '{"at": 7}'}
    history = [
        *MESSAGES,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "7:00"},
    ]
    answer = await client.chat.completions.create(
        model=MODEL,
        messages=history,
        tools=cast(Any, TOOLS),
        max_tokens=40,
        extra_body={"structured_outputs": {"choice": ["Seven."]}},
    )
    assert answer.choices[0].message.content == "Seven."
