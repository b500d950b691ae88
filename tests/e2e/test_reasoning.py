"""A model that thinks first: a second deployment, whose stream chunks also wait until full.

It also has what vLLM does only for some families: Qwen's architecture takes decisions, DeepSeek's
tokenizer has a form for gaps in a text.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.support.deployment import MODEL, Api, connect, deploy, make_environ, open_client
from tests.e2e.support.effects import chunks, reasoning
from tests.e2e.support.effects.reasoning import THINK_THEN_SAY
from tests.e2e.support.parameters import Asker, Check, Way, list_cases
from tests.e2e.support.tiny_model import QWEN3, build_tiny_model
from worker.request.routes import CHAT
from worker_tools.dev import LocalDeployment

pytestmark = pytest.mark.asyncio(loop_scope="session")

SETTINGS = {
    "REASONING_PARSER": "deepseek_r1",
    "STREAM_MAX_DELAY_MS": "60000",
    "TOKENIZER_MODE": "deepseek_v4",
    "ENABLE_PER_REQUEST_METRICS": "true",
    "REJECT_UNKNOWN_PARAMETERS": "true",
    "VLLM_MAX_STOP_STRINGS": "5",
}
ASK: Any = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Shall we?"}],
    "max_tokens": THINK_THEN_SAY["max_tokens"],
    "extra_body": {name: THINK_THEN_SAY[name] for name in THINK_THEN_SAY if name != "max_tokens"},
}


@pytest.fixture(scope="module")
def printed() -> list[str]:
    """Every line that this module's worker has printed so far."""
    return []


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def thinker(
    tmp_path_factory: pytest.TempPathFactory, printed: list[str]
) -> AsyncIterator[LocalDeployment]:
    folder: Path = tmp_path_factory.mktemp("models") / "tiny-thinker"
    model = build_tiny_model(folder, thinking=True, changes=QWEN3, words=("yes", "no"))
    environ = make_environ(model, **SETTINGS)
    async with deploy(environ, printed) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def thinking(thinker: LocalDeployment) -> AsyncIterator[Api]:
    async with connect(thinker) as connected:
        yield connected


CASES = [case for module in (reasoning, chunks) for case in list_cases(module.__name__)]


@pytest.mark.parametrize(("check", "way"), CASES)
async def test_parameter_has_its_effect(thinking: Api, check: Check, way: Way) -> None:
    await check(Asker(thinking, way))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_chat_has_reasoning_apart_from_the_answer(
    thinker: LocalDeployment, stream: bool
) -> None:
    async with open_client(thinker.endpoint.openai_url) as client:
        if stream:
            thoughts, text = "", ""
            async for chunk in await client.chat.completions.create(**ASK, stream=True):
                delta: Any = chunk.choices[0].delta
                thoughts += getattr(delta, "reasoning", None) or ""
                text += delta.content or ""
        else:
            answer = await client.chat.completions.create(**ASK)
            message: Any = answer.choices[0].message
            thoughts, text = message.reasoning, message.content
    assert thoughts
    assert text == "So be it."


async def test_native_stream_has_reasoning_of_its_own(thinking: Api) -> None:
    outputs = await Asker(thinking, Way.MESSAGES).stream(**THINK_THEN_SAY)
    choices = [output["choices"][0] for output in outputs]
    assert "".join(text for choice in choices for text in choice["tokens"]) == "So be it."
    assert "".join(text for choice in choices for text in choice.get("reasoning", []))


@pytest.mark.parametrize("openai_route", [None, CHAT], ids=["native", "openai"])
async def test_thinking_budget_ends_the_thoughts(thinking: Api, openai_route: str | None) -> None:
    body = {"messages": ASK["messages"], **THINK_THEN_SAY, "include_reasoning": True}
    body["thinking_budget"] = body.pop("thinking_token_budget")
    job = await thinking.runsync(
        {"openai_route": openai_route, "openai_input": body} if openai_route else body
    )
    assert job["status"] == "COMPLETED", job
    choice = job["output"][0]["choices"][0]
    answer = choice["message"]["content"] if openai_route else choice["tokens"][0]
    assert answer == "So be it."


@pytest.mark.parametrize("openai_route", [None, CHAT], ids=["native", "openai"])
async def test_unknown_parameter_is_refused_where_the_setting_says_so(
    thinking: Api, openai_route: str | None
) -> None:
    body = {"messages": ASK["messages"], "max_tokens": 2, "top_a": 0.5}
    job = await thinking.runsync(
        {"openai_route": openai_route, "openai_input": body} if openai_route else body
    )
    error = json.loads(job["error"])["error"]
    assert (error["code"], error["param"]) == ("unknown_parameter", "top_a")
    assert "REJECT_UNKNOWN_PARAMETERS" in error["message"]


@pytest.mark.parametrize(("count", "status"), [(5, "COMPLETED"), (6, "FAILED")])
async def test_setting_limits_the_stop_strings(thinking: Api, count: int, status: str) -> None:
    stop = [f"stop {number}" for number in range(count)]
    job = await thinking.runsync({"prompt": "x", "max_tokens": 2, "stop": stop})
    assert job["status"] == status, job


async def test_structured_output_without_reasoning_is_a_client_error(thinking: Api) -> None:
    body = {**ASK, **ASK["extra_body"], "include_reasoning": False, "thinking_token_budget": 0}
    del body["extra_body"]
    job = await thinking.runsync({"openai_route": CHAT, "openai_input": body})
    error = json.loads(job["error"])["error"]
    assert (error["code"], error["status"]) == ("unsatisfiable_constraints", 400), error
    assert "thinking_token_budget" in error["message"]
    assert "retryable" not in error


async def test_system_one_route_answers_each_question(thinking: Api) -> None:
    options = {"dry": None, "wet": "as rain makes it"}
    question = {"type": "choice", "instructions": "How is it?", "criteria": options}
    body = {"state": "It rains.", "questions": {"street": question}}
    job = await thinking.runsync({"route": "/v1/systemone", "body": body})
    assert job["status"] == "COMPLETED", job["error"]
    answer = job["output"][0]
    assert answer["answers"].keys() == {"street"}
    assert options.keys() & set(map(str, answer["answers"]["street"].values()))
    assert answer["usage"]["input_tokens"] > 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("openai_route", [None, CHAT], ids=["native", "openai"])
async def test_how_long_a_job_waited_is_in_its_line(
    thinking: Api, printed: list[str], openai_route: str | None, stream: bool
) -> None:
    messages = [{"role": "user", "content": "Shall we?"}]
    body = {"messages": messages, "max_tokens": 3, "stream": stream}
    job_input: Any = {
        "messages": messages,
        "stream": stream,
        "sampling_params": {"max_tokens": 3, "ignore_eos": True},
    }
    if openai_route:
        usage = {"stream_options": {"include_usage": True}} if stream else {}
        job_input = {"openai_route": openai_route, "openai_input": {**body, **usage}}
    job_id = await thinking.run(job_input)
    await thinking.wait_for(job_id, "COMPLETED")
    async with asyncio.timeout(30):
        while not (lines := [line for line in printed if job_id in line and "Finished" in line]):
            await asyncio.sleep(0.01)
    assert re.search(r"waited \d+\.\d\d s in vLLM", lines[0])
