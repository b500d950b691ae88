"""Requests as clients of other servers send them, answered by the real engine."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.e2e.support.deployment import MODEL, Api
from tests.support.output import wait_for_line

pytestmark = pytest.mark.asyncio(loop_scope="session")

HELLO: Any = [{"role": "user", "content": "Hi"}]
TEMPLATE = "{{ 'thinks' if enable_thinking else 'answers' }}"
STOPS = [f"stop {number}" for number in range(63)]


async def complete(api: Api, **job_input: Any) -> dict[str, Any]:
    job = await api.runsync({"ignore_eos": True, **job_input})
    assert job["status"] == "COMPLETED", job
    output: dict[str, Any] = job["output"][0]
    return output


async def test_langchain_runpod_input_is_answered_as_asked(api: Api) -> None:
    # ChatRunPod of langchain-runpod 0.2.0: sampling parameters next to the prompt.
    asked = {"temperature": 0.7, "max_tokens": 20, "top_p": 0.9, "top_k": 50, "stop": ["\n\n\n"]}
    output = await complete(api, prompt="User: Hi", **asked)
    assert output["usage"]["output"] == 20
    assert "warnings" not in output


async def test_native_sampling_parameters_next_to_the_prompt_have_their_effect(api: Api) -> None:
    choice = {"structured_outputs": {"choice": ["abcd"]}, "ignore_eos": False}
    output = await complete(api, prompt="x", stop=["c"], max_tokens=50, **choice)
    assert output["choices"][0]["tokens"] == ["ab"]
    assert output["choices"][0]["stop_reason"] == "c"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_native_members_of_the_original_change_nothing(api: Api, stream: bool) -> None:
    job = await api.runsync(
        {
            "prompt": "x",
            "stream": stream,
            "use_openai_format": False,
            "stream_options": {"include_usage": True},
            "sampling_params": {"max_tokens": 5, "ignore_eos": True},
        }
    )
    assert job["status"] == "COMPLETED", job
    assert job["output"][-1]["usage"]["output"] == 5
    assert not any("warnings" in output for output in job["output"])


@pytest.mark.parametrize("name", ["max_new_tokens", "max_completion_tokens", "max_tokens"])
@pytest.mark.parametrize("inside", [True, False], ids=["inside", "outer"])
async def test_native_alias_limits_the_answer(api: Api, name: str, inside: bool) -> None:
    limit = {"sampling_params": {name: 7}} if inside else {name: 7}
    assert (await complete(api, prompt="x", **limit))["usage"]["output"] == 7


async def test_completion_with_both_limits_and_unused_members_is_answered(
    client: openai.AsyncOpenAI,
) -> None:
    # GuideLLM's body, with what other clients leave empty.
    body = {"max_completion_tokens": 9, "ignore_eos": True, "messages": [], "functions": []}
    answer = await client.completions.create(model=MODEL, prompt="x", max_tokens=9, extra_body=body)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 9


async def test_chat_with_an_empty_prompt_is_answered(client: openai.AsyncOpenAI) -> None:
    body = {"prompt": "", "functions": [], "ignore_eos": True}
    answer = await client.chat.completions.create(
        model=MODEL, messages=HELLO, max_tokens=3, extra_body=body
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3


@pytest.mark.parametrize(
    ("members", "prompt"),
    [
        ({"enable_thinking": True}, "thinks"),
        ({"enable_thinking": False}, "answers"),
        ({"extra_body": {"enable_thinking": True}}, "thinks"),
        ({"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}}, "thinks"),
        ({"thinking": {"type": "enabled"}}, "thinks"),
        ({"think": False}, "answers"),
        ({"reasoning": {"enabled": True}}, "thinks"),
    ],
    ids=str,
)
async def test_thinking_switch_reaches_the_chat_template(
    api: Api, members: dict[str, Any], prompt: str
) -> None:
    body = {"messages": HELLO, "chat_template": TEMPLATE, "return_prompt_text": True}
    native = await complete(api, max_tokens=1, **body, **members)
    job = await api.runsync(
        {
            "openai_route": "/v1/chat/completions",
            "openai_input": {"model": MODEL, "max_tokens": 1, **body, **members},
        }
    )
    assert native["prompt_text"] == prompt
    assert job["output"][0]["prompt_text"] == prompt


async def test_thinking_budget_is_not_lost(client: openai.AsyncOpenAI) -> None:
    # This deployment has no reasoning parser, and vLLM refuses a budget without one.
    with pytest.raises(openai.APIStatusError, match="thinking_token_budget"):
        await client.chat.completions.create(
            model=MODEL, messages=HELLO, extra_body={"thinking_budget": 5}
        )


async def test_literal_extra_body_has_its_effect(client: openai.AsyncOpenAI) -> None:
    # The client merges the outer one; the inner one is what arrives as a member.
    inner = {"ignore_eos": True, "min_tokens": 4}
    answer = await client.chat.completions.create(
        model=MODEL, messages=HELLO, max_tokens=4, extra_body={"extra_body": inner}
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4


@pytest.mark.parametrize("native", [True, False], ids=["native", "openai"])
async def test_64_stop_strings_are_accepted(api: Api, native: bool) -> None:
    choice = {"structured_outputs": {"choice": ["abcd"]}, "stop": [*STOPS, "c"], "max_tokens": 50}
    if native:
        output = await complete(api, prompt="x", ignore_eos=False, sampling_params=choice)
        assert output["choices"][0]["tokens"] == ["ab"]
        return
    body = {"messages": HELLO, **choice}
    job = await api.runsync({"openai_route": "/v1/chat/completions", "openai_input": body})
    assert job["output"][0]["choices"][0]["message"]["content"] == "ab"


async def test_ignored_parameter_is_in_the_answer_and_in_the_log(
    api: Api, worker_output: list[str]
) -> None:
    output = await complete(api, prompt="x", max_tokens=3, mirostat=2, zzz_unheard="secret value")
    assert any("mirostat, zzz_unheard" in warning for warning in output["warnings"])
    await wait_for_line(worker_output, "zzz_unheard")
    assert sum("zzz_unheard" in line for line in worker_output) == 1
    assert "secret value" not in "".join(worker_output)


async def test_parameters_of_llama_cpp_have_their_effect(api: Api) -> None:
    members = {"n_predict": 50, "grammar": 'root ::= "ab" "cd"', "cache_prompt": True}
    output = await complete(api, prompt="x", ignore_eos=False, **members)
    assert output["choices"][0]["tokens"] == ["abcd"]
    assert "warnings" not in output
