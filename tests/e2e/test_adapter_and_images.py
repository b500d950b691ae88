"""A deployment with a LoRA adapter, a model that sees, and every control route open."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.support.deployment import MODEL, Api, connect, deploy, make_environ, open_client
from tests.e2e.support.effects import deployment
from tests.e2e.support.effects.deployment import ADAPTER, SURE, draw, show
from tests.e2e.support.parameters import Asker, Check, Way, list_cases
from tests.e2e.support.tiny_adapter import build_tiny_adapter
from tests.e2e.support.tiny_vision import CONTEXT, IMAGE_TOKENS, build_tiny_vision
from worker.request.routes import CHAT, ROUTES
from worker_tools.dev import LocalDeployment

pytestmark = pytest.mark.asyncio(loop_scope="session")

SETTINGS = {
    "LOAD_FORMAT": "safetensors",
    "MAX_MODEL_LEN": str(CONTEXT),
    "MAX_NUM_SEQS": "1",
    "SCHEDULING_POLICY": "priority",
    "ENABLE_LORA": "true",
    "ENABLE_PROMPT_TOKENS_DETAILS": "true",
    "TRUST_REQUEST_MM_KWARGS": "true",
    "OPEN_CONTROL_ROUTES": "true",
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "true",
    "ENABLE_SCALE_OUT": "true",
    "ENABLE_TOKENIZER_INFO_ENDPOINT": "true",
}
ONCE = {"prompt": "Once upon a time there was a fox. " * 8, "sampling_params": {"max_tokens": 1}}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_vision(tmp_path_factory.mktemp("models") / "tiny-vision")


@pytest.fixture(scope="module")
def adapter(model: Path) -> Path:
    return build_tiny_adapter(model.parent / "adapter", model)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def extended(model: Path, adapter: Path) -> AsyncIterator[LocalDeployment]:
    program = str(Path(__file__).parent / "support/random_weights.py")
    weights = await asyncio.create_subprocess_exec(sys.executable, program, str(model))
    assert await weights.wait() == 0
    modules = json.dumps([{"name": ADAPTER, "path": str(adapter)}])
    async with deploy(make_environ(model, **SETTINGS, LORA_MODULES=modules), []) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def whole(extended: LocalDeployment) -> AsyncIterator[Api]:
    async with connect(extended) as connected:
        yield connected


async def read(api: Api, route: str, body: dict[str, Any] | None = None) -> Any:
    job_input = {"route": route} if body is None else {"route": route, "body": body}
    job = await api.runsync(job_input)
    assert job["status"] == "COMPLETED", job
    return job["output"][0]


@pytest.mark.parametrize(("check", "way"), list_cases(deployment.__name__))
async def test_parameter_has_its_effect(whole: Api, check: Check, way: Way) -> None:
    await check(Asker(whole, way))


async def test_adapter_is_listed_and_answers_the_official_client(
    extended: LocalDeployment,
) -> None:
    async with open_client(extended.endpoint.openai_url) as client:
        assert [model.id for model in (await client.models.list()).data] == [MODEL, ADAPTER]
        answer = await client.chat.completions.create(
            model=ADAPTER, messages=[{"role": "user", "content": "Hi"}], max_tokens=3
        )
        assert answer.model == ADAPTER
        stream = await client.chat.completions.create(
            model=ADAPTER, messages=[{"role": "user", "content": "Hi"}], max_tokens=3, stream=True
        )
        assert {chunk.model async for chunk in stream} == {ADAPTER}


async def test_adapter_streams_natively_what_it_answers(whole: Api) -> None:
    ask = Asker(whole, Way.PROMPT)
    expected = (await ask(model=ADAPTER, **SURE)).text
    outputs = await ask.stream(model=ADAPTER, **SURE)
    assert "".join("".join(output["choices"][0]["tokens"]) for output in outputs) == expected


async def test_picture_counts_as_tokens_of_the_prompt(whole: Api) -> None:
    ask = Asker(whole, Way.MESSAGES)
    seen = await ask(messages=show(deployment.RED))
    text = await ask(messages=[{"role": "user", "content": "What is it?"}])
    assert seen.usage["input"] >= text.usage["input"] + IMAGE_TOKENS


@pytest.mark.parametrize(
    ("url", "word"),
    [
        pytest.param("data:image/png;base64,AAAA", "image", id="no picture"),
        pytest.param("picture.png", "URL", id="no URL"),
    ],
)
async def test_picture_that_is_none_is_refused(whole: Api, url: str, word: str) -> None:
    picture = {"type": "image_url", "image_url": {"url": url}}
    error = await Asker(whole, Way.CHAT).fail(messages=[{"role": "user", "content": [picture]}])
    assert error["status"] == 400
    assert word in error["message"]
    assert "object at 0x" not in error["message"]
    assert "_io." not in error["message"]


async def test_more_pictures_than_the_model_takes_are_refused(whole: Api) -> None:
    picture = {"type": "image_url", "image_url": {"url": draw(deployment.RED)}}
    messages = [{"role": "user", "content": [picture, picture]}]
    error = await Asker(whole, Way.MESSAGES).fail(messages=messages)
    assert (error["status"], error["code"]) == (400, "invalid_request")
    assert "At most 1 image" in error["message"]


# Control routes


async def test_open_control_routes_describe_the_server(whole: Api) -> None:
    assert "vllm:num_requests_running" in await read(whole, "/metrics")
    assert await read(whole, "/load") == {"server_load": 0}
    assert "vllm_config" in await read(whole, "/server_info")
    assert await read(whole, "/is_sleeping") == {"is_sleeping": False}


async def test_prefix_cache_is_emptied_by_its_route(whole: Api) -> None:
    for cached in (False, True):
        job = await whole.runsync(ONCE)
        assert bool(job["output"][0]["usage"]["cached"]) is cached
    await read(whole, "/reset_prefix_cache", {})
    assert not (await whole.runsync(ONCE))["output"][0]["usage"]["cached"]


async def test_adapter_is_loaded_and_unloaded_by_its_routes(whole: Api, adapter: Path) -> None:
    second = {"lora_name": "second", "lora_path": str(adapter)}
    await read(whole, "/v1/load_lora_adapter", second)
    job = await whole.runsync({**ONCE, "model": "second"})
    assert job["status"] == "COMPLETED", job
    await read(whole, "/v1/unload_lora_adapter", {"lora_name": "second"})
    job = await whole.runsync({**ONCE, "model": "second"})
    assert json.loads(job["error"])["error"]["code"] == "model_not_found"


async def test_scale_out_routes_render_and_derender(whole: Api) -> None:
    rendered = await read(whole, "/v1/completions/render", {"prompt": "abc"})
    [prompt] = rendered if isinstance(rendered, list) else [rendered]
    tokens = (await read(whole, "/tokenize", {"prompt": "abc"}))["tokens"]
    assert prompt["token_ids"] == tokens


async def test_routes_that_need_a_setting_are_there_with_it(whole: Api) -> None:
    settings = {f"{name}={value}" for name, value in SETTINGS.items()}
    readable = [r.path for r in ROUTES if r.needs in settings and r.methods == ("GET",)]
    assert len(readable) >= 5
    for path in readable:
        job = await whole.runsync({"route": path})
        assert "route_not_served" not in job.get("error", ""), path


async def test_chat_is_answered_after_all_other_tests(whole: Api) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    body = {"messages": messages, "max_tokens": 2, "ignore_eos": True}
    assert (await read(whole, CHAT, body))["usage"]["completion_tokens"] == 2
