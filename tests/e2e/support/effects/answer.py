"""Parameters that decide what the model reads, and what the answer has in addition to its text."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.support.effects.choice import LETTERS, A, B
from tests.e2e.support.parameters import PROMPT, Asker, Way, effect

TEMPLATE = "{{ greeting }}|{{ documents }}|{{ reasoning_effort }}|{{ messages[0]['content'] }}"

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"at": {"type": "integer", "enum": [7]}},
                "required": ["at"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("clock", "map")
]
STRICT = [{**tool, "function": {**tool["function"], "strict": True}} for tool in TOOLS]
"""What a random model's arguments must follow; vLLM leaves others free."""

CALL = '<tool_call>\n{"name": "clock", "arguments": {"at": 7}}\n</tool_call>'
TWO_CALLS = CALL + "\n" + CALL.replace("clock", "map")


def say(text: str) -> dict[str, object]:
    return {"structured_outputs": {"choice": [text]}, "max_tokens": 300}


@effect("logprobs")
async def logprobs_are_told(ask: Asker) -> None:
    answer = await ask(logprobs=3, ignore_eos=True, return_tokens_as_token_ids=True)
    assert len(answer.first.chosen) == 8
    assert {len(tops) for tops in answer.first.likely} <= {3, 4}
    assert not (await ask()).first.chosen


@effect("top_logprobs")
async def top_logprobs_are_counted(ask: Asker) -> None:
    for count in (1, 2):
        answer = await ask(logprobs=count, return_tokens_as_token_ids=True)
        assert {len(tops) for tops in answer.first.likely} == {count}


@effect("logprob_token_ids")
async def logprobs_of_named_tokens_are_told(ask: Asker) -> None:
    answer = await ask(logprobs=1, logprob_token_ids=[A, B], allowed_token_ids=[A], max_tokens=2)
    assert {"a", "b"} <= set(answer.first.likely[0])


@effect("prompt_logprobs")
async def logprobs_of_the_prompt_are_told(ask: Asker) -> None:
    answer = await ask(prompt_logprobs=1)
    assert len(answer.prompt_logprobs) == answer.usage["input"]


@effect("return_tokens_as_token_ids")
async def tokens_are_named_by_id(ask: Asker) -> None:
    answer = await ask(logprobs=1, allowed_token_ids=[A], return_tokens_as_token_ids=True)
    assert f"token_id:{A}" in answer.first.likely[0]


@effect("return_token_ids")
async def token_ids_are_told(ask: Asker) -> None:
    answer = await ask(structured_outputs={"choice": ["abc"]})
    assert answer.first.ids[:3] == list(LETTERS.values())
    assert not (await ask(return_token_ids=False)).first.ids


@effect("return_prompt_text")
async def rendered_prompt_is_told(ask: Asker) -> None:
    answer = await ask(return_prompt_text=True)
    assert f"<|im_start|>user\n{PROMPT}<|im_end|>" in answer.whole["prompt_text"]


@effect("prompt")
async def prompt_may_be_tokens_or_several(ask: Asker) -> None:
    assert (await ask(prompt=[A, B])).prompt_ids == [A, B]
    assert len((await ask(prompt=["a", "b", "c"])).sequences) == 3
    assert len((await ask(prompt=[[A], [B]])).sequences) == 2


@effect("messages")
async def messages_may_be_a_text(ask: Asker) -> None:
    text = await ask(messages=PROMPT)
    assert text.prompt_ids == (await ask()).prompt_ids
    several = [{"role": "system", "content": "s"}, {"role": "user", "content": PROMPT}]
    assert (await ask(messages=several)).usage["input"] > text.usage["input"]
    parts = [{"role": "user", "content": [{"type": "text", "text": PROMPT}]}]
    assert (await ask(messages=parts)).prompt_ids == text.prompt_ids


@effect("apply_chat_template")
async def prompt_becomes_a_message(ask: Asker) -> None:
    plain, chat = await ask(), await ask(apply_chat_template=True)
    assert chat.usage["input"] > plain.usage["input"]


@effect("echo")
async def echo_repeats_the_question(ask: Asker) -> None:
    if ask.way.is_chat:
        messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well"}]
        final = {"add_generation_prompt": False, "continue_final_message": True}
        answer = await ask(messages=messages, **final, echo=True)
        assert answer.text.startswith("Well")
    else:
        # With token ids, vLLM puts the prompt there and not into the text.
        echo = {"echo": True, "return_token_ids": False}
        assert (await ask(**echo)).text.startswith(PROMPT)
        assert (await ask(**echo, max_tokens=0)).text == PROMPT


@effect("truncate_prompt_tokens", "truncation_side")
async def prompt_is_cut(ask: Asker) -> None:
    whole = (await ask()).prompt_ids
    cut = {"truncate_prompt_tokens": 3, "truncation_side": "left"}
    assert (await ask(**cut)).prompt_ids == whole[-3:]
    assert (await ask(**{**cut, "truncation_side": "right"})).prompt_ids == whole[:3]


@effect("add_special_tokens")
async def special_tokens_are_added(ask: Asker) -> None:
    without, added = await ask(add_special_tokens=False), await ask(add_special_tokens=True)
    assert added.prompt_ids == [0, *without.prompt_ids]


@effect("add_generation_prompt", "continue_final_message")
async def last_message_is_continued(ask: Asker) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well"}]
    rendered = {"messages": messages, "return_prompt_text": True, "add_generation_prompt": False}
    ended = (await ask(**rendered)).whole["prompt_text"]
    continued = (await ask(**rendered, continue_final_message=True)).whole["prompt_text"]
    opened = (await ask(**{**rendered, "add_generation_prompt": True})).whole["prompt_text"]
    assert ended.endswith("Well<|im_end|>\n")
    assert continued.endswith("Well")
    assert opened == ended + "<|im_start|>assistant\n"


@effect("chat_template", "chat_template_kwargs", "documents", "reasoning_effort")
async def template_sees_its_variables(ask: Asker) -> None:
    answer = await ask(
        chat_template=TEMPLATE,
        chat_template_kwargs={"greeting": "Hello"},
        documents=[{"text": "page"}],
        reasoning_effort="high",
        return_prompt_text=True,
    )
    greeting, documents, effort, content = answer.whole["prompt_text"].split("|")
    assert (greeting, effort, content) == ("Hello", "high", PROMPT)
    assert "page" in documents


@effect("tools", "tool_choice")
async def tools_are_called(ask: Asker) -> None:
    choices = ("required", {"type": "function", "function": {"name": "map"}})
    for choice in choices:
        answer = await ask(
            tools=STRICT, tool_choice=choice, parallel_tool_calls=False, max_tokens=600
        )
        call = answer.first.tools[0]["function"]
        assert json.loads(call["arguments"]) == {"at": 7}
        assert call["name"] == "map" or choice == "required"
    called = await ask(tools=TOOLS, **say("Well " + CALL))
    assert (called.text.strip(), called.first.finish) == ("Well", "tool_calls")
    assert [call["function"]["name"] for call in called.first.tools] == ["clock"]
    assert (await ask(tools=TOOLS, tool_choice="none", **say(CALL))).text == CALL


@effect("parallel_tool_calls")
async def one_call_or_several(ask: Asker) -> None:
    for parallel, count in ((True, 2), (False, 1)):
        answer = await ask(tools=TOOLS, parallel_tool_calls=parallel, **say(TWO_CALLS))
        assert len(answer.first.tools) == count


@effect("cache_salt")
async def salt_separates_caches(ask: Asker) -> None:
    start = {"messages": LONG_TEXT} if ask.way.is_chat else {"prompt": LONG_TEXT}
    salted = {**start, "cache_salt": f"{ask.way} one"}
    assert not (await ask(**salted)).usage.get("cached")
    assert (await ask(**salted)).usage["cached"] > 0
    assert not (await ask(**start, cache_salt=f"{ask.way} two")).usage.get("cached")


LONG_TEXT = "The quick brown fox jumps over the lazy dog. " * 20


@effect("request_id", only=(Way.CHAT, Way.TEXT))
async def request_id_is_the_answers_id(ask: Asker) -> None:
    answer = await ask(request_id=f"mine-{ask.way.route[-4:]}")
    assert answer.whole["id"].endswith(f"mine-{ask.way.route[-4:]}")
