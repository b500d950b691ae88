"""From a hub into a baked folder, and from there, off the hub, to HTTP behind a load balancer."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import anthropic
import openai
import pytest
import pytest_asyncio

from tests.e2e.support.deployment import (
    KV_CACHE_USAGE,
    LONG_SEQUENCES,
    LONG_TOKENS,
    LONGER_SEQUENCES,
    TEXT,
    connect_engine,
    count_running,
    expect_abort,
    make_environ,
    open_client,
    read_metric,
)
from tests.e2e.support.http_worker import WORKER, Server, run, serve_http
from tests.e2e.support.tiny_model import build_tiny_model
from tests.e2e.support.tiny_weights import write_weights
from tests.fakes.hub import Hub, repository_of
from tests.support.output import wait_for_line
from worker.engine.client import EngineClient
from worker.engine.startup_timing import READ
from worker.errors import ExitCode

pytestmark = pytest.mark.asyncio(loop_scope="module")

REPO = "Test/Tiny-Llama"
KEY = "sk-for-this-test"
DEADLINE_S = 6
"""Of one request; the stream that outlasts a SIGTERM is far shorter, under load too."""

MESSAGES: Any = [{"role": "user", "content": "Say something."}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
        yield session


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Any:
    model = build_tiny_model(tmp_path_factory.mktemp("hub") / "tiny")
    write_weights(model)
    with Hub({REPO: repository_of(model, **{"README.md": b"#", "pytorch_model.bin": b"x"})}) as hub:
        yield hub


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(
    hub: Hub, session: aiohttp.ClientSession, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    root = tmp_path_factory.mktemp("root")
    tiny = make_environ(root, HF_ENDPOINT=hub.url, HF_HUB_DISABLE_TELEMETRY="1")
    own = ("MODEL_NAME", "OPENAI_SERVED_MODEL_NAME_OVERRIDE", "LOAD_FORMAT", "HF_HUB_OFFLINE")
    environ = {name: value for name, value in tiny.items() if name not in own}
    environ |= {"BAKED_FILE": str(root / "baked.json"), "HF_HOME": str(root / "home")}
    bake = await run(WORKER, "bake", **environ, MODEL_NAME=REPO, BASE_PATH=str(root / "models"))
    output, _ = await bake.communicate()
    assert bake.returncode == 0, output.decode()
    assert "pytorch_model.bin" not in hub.downloads()
    hub.asked.clear()
    environ |= {"WORKER_API_KEY": KEY, "REQUEST_TIMEOUT_S": str(DEADLINE_S)}
    async with serve_http(session, environ) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(server: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    async with open_client(server.url + "/v1", KEY) as connected:
        yield connected


async def test_health_is_204_from_the_start_then_200(server: Server) -> None:
    assert server.first_answer_s < server.ready_s / 2, "the server waited for vLLM's import"
    assert set(server.health) == {204, 200}
    assert server.health == sorted(server.health, reverse=True)
    assert server.refused["code"] == "engine_unavailable"


async def test_baked_model_is_served_by_its_name_without_the_hub(
    server: Server, hub: Hub, client: openai.AsyncOpenAI
) -> None:
    assert [model.id for model in (await client.models.list()).data] == [REPO]
    assert hub.asked == []


async def test_weights_are_the_baked_ones(client: openai.AsyncOpenAI) -> None:
    texts = [
        (await client.completions.create(model=REPO, prompt="Once", max_tokens=8, temperature=0))
        .choices[0]
        .text
        for _ in range(2)
    ]
    assert texts[0] == texts[1] != ""


async def test_chat_streamed_keeps_every_character(
    client: openai.AsyncOpenAI, text_choice: dict[str, Any]
) -> None:
    stream = await client.chat.completions.create(
        model=REPO, messages=MESSAGES, max_tokens=200, stream=True, extra_body=text_choice
    )
    chunks = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(chunks) == TEXT
    assert len(chunks) > 10


async def test_compressed_body_on_a_path_with_two_slashes_is_answered(
    server: Server, session: aiohttp.ClientSession, text_choice: dict[str, Any]
) -> None:
    body = {"messages": MESSAGES, "max_tokens": 200, **text_choice}
    async with session.post(
        f"{server.url}//v1/chat/completions",
        data=gzip.compress(json.dumps(body).encode()),
        headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ) as response:
        answer = await response.json()
    assert answer["choices"][0]["message"]["content"] == TEXT


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_error_has_its_real_status(client: openai.AsyncOpenAI, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(
            model=REPO, messages=MESSAGES, max_tokens=9999, stream=stream
        )
    assert caught.value.code == "context_length_exceeded"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("key", "more", "error", "kind", "code"),
    [
        pytest.param(
            "wrong", {}, anthropic.AuthenticationError, "authentication_error",
            "invalid_api_key", id="key",
        ),
        pytest.param(
            KEY, {"model": "nope"}, anthropic.NotFoundError, "not_found_error",
            "model_not_found", id="vllm",
        ),
        pytest.param(
            KEY, {"max_tokens": 99999}, anthropic.BadRequestError, "invalid_request_error",
            "context_length_exceeded", id="length",
        ),
    ],
)  # fmt: skip
async def test_error_reaches_the_anthropic_client_in_its_form(
    server: Server, stream: bool, key: str, more: dict[str, Any], error: Any, kind: str, code: str
) -> None:
    ask: dict[str, Any] = {"model": REPO, "max_tokens": 5, "messages": MESSAGES, **more}
    async with anthropic.AsyncAnthropic(
        base_url=server.url, api_key=key, max_retries=0, timeout=60
    ) as claude:
        with pytest.raises(error) as caught:
            await claude.messages.create(**ask, stream=stream)
    assert caught.value.type == kind
    body: Any = caught.value.body
    assert (body["type"], body["error"]["code"]) == ("error", code)


async def test_closed_route_and_wrong_key_are_refused(
    server: Server, session: aiohttp.ClientSession
) -> None:
    async with session.get(server.url + "/metrics") as response:
        assert response.status == 403
    headers = {"Authorization": "Bearer wrong"}
    async with session.get(server.url + "/v1/models", headers=headers) as response:
        assert response.status == 401


async def test_realtime_of_a_model_without_it_is_refused_by_name(
    server: Server, session: aiohttp.ClientSession
) -> None:
    # What vLLM's own server says to a WebSocket that this model does not have.
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await session.ws_connect(server.url + "/v1/realtime")
    assert caught.value.status == 404


async def test_ignored_parameter_is_named_in_a_header(
    server: Server, session: aiohttp.ClientSession
) -> None:
    body = {"messages": MESSAGES, "max_tokens": 2, "top_a": 0.5, "provider": {"order": ["x"]}}
    async with session.post(server.url + "/v1/chat/completions", json=body) as response:
        assert (response.status, response.headers["X-Ignored-Parameters"]) == (200, "top_a")
        assert (await response.json())["choices"]
    await wait_for_line(server.output, "top_a")
    assert sum("top_a" in line for line in server.output) == 1


async def test_native_job(server: Server, session: aiohttp.ClientSession) -> None:
    parameters = {"max_tokens": 5, "ignore_eos": True}
    body = {"input": {"prompt": "Once", "sampling_params": parameters}}
    async with session.post(server.url + "/runsync", json=body) as response:
        answer = await response.json()
    assert answer["status"] == "COMPLETED"
    assert answer["output"][0]["usage"]["output"] == 5


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(server: Server) -> AsyncIterator[EngineClient]:
    client = connect_engine(server.process.pid)
    yield client
    await client.close()


ENDLESS: Any = {"model": REPO, "prompt": "Once", "max_tokens": LONG_TOKENS}


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_client_that_leaves_ends_its_request_in_vllm(
    server: Server, session: aiohttp.ClientSession, engine: EngineClient, stream: bool
) -> None:
    body = {**ENDLESS, "n": LONG_SEQUENCES, "ignore_eos": True, "stream": stream}
    async with expect_abort(engine, LONG_SEQUENCES):
        asking = asyncio.create_task(session.post(server.url + "/v1/completions", json=body))
        while await count_running(engine) < LONG_SEQUENCES:
            await asyncio.sleep(0.02)
        assert await read_metric(engine, KV_CACHE_USAGE) > 0
        if stream:
            (await asking).close()
        else:
            asking.cancel()


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_request_beyond_the_deadline_is_ended_in_vllm(
    server: Server, client: openai.AsyncOpenAI, engine: EngineClient, stream: bool
) -> None:
    async def ask() -> None:
        answer: Any = await client.completions.create(
            **ENDLESS, n=LONGER_SEQUENCES, stream=stream, extra_body={"ignore_eos": True}
        )
        async for _chunk in answer:
            pass

    async with expect_abort(engine, LONGER_SEQUENCES):
        with pytest.raises(openai.APIError) as caught:
            await ask()
        assert caught.value.code == "engine_timeout"
        assert "REQUEST_TIMEOUT_S" in caught.value.message


async def test_start_logs_the_duration_of_reading_the_weights(server: Server) -> None:
    line = await wait_for_line(server.output, "start: ")
    assert json.loads(line.partition("start: ")[2])["vllm_phases"].keys() == {READ}


async def test_sigterm_finishes_what_runs_and_ends(
    server: Server, client: openai.AsyncOpenAI, session: aiohttp.ClientSession
) -> None:
    stream = await client.completions.create(
        model=REPO, prompt="Once", max_tokens=200, stream=True, extra_body={"ignore_eos": True}
    )
    first = await anext(aiter(stream))
    os.kill(server.process.pid, signal.SIGTERM)
    while True:
        async with session.get(server.health_url) as response:
            if response.status == 503:
                break
    with pytest.raises(openai.InternalServerError) as caught:
        await client.models.list()
    assert caught.value.code == "worker_stopping"
    rest = [chunk async for chunk in stream]
    assert [chunk.choices[0].finish_reason for chunk in (first, *rest)][-1] == "length"
    async with asyncio.timeout(60):
        assert await server.process.wait() == ExitCode.OK
