"""LoRA adapters that requests name, from a hub on loopback and a folder, with two API servers."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from tests.e2e.support.deployment import MODEL, Api, connect, deploy, make_environ, open_client
from tests.e2e.support.http_worker import serve_http_with
from tests.e2e.support.tiny_adapter import build_text_adapter
from tests.e2e.test_usage import find_record
from tests.fakes.hub import Hub, Repository, repository_of
from worker_tools.dev import LocalDeployment

pytestmark = pytest.mark.asyncio(loop_scope="session")

TOKEN = "hf_thesecretofthistest"
SERVERS, SLOTS, KEPT = 2, 2, 3
WAIT_S = 8
"""How long a request waits for its adapter: half of the stall timeout."""

PARAMS = {"max_tokens": 8, "temperature": 0, "ignore_eos": True}
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adapters")


@pytest.fixture(scope="module")
def hub(folder: Path, tiny_model: Path) -> Iterator[Hub]:
    """A hub with six good adapters, and one of each kind of bad ones."""
    made = folder / "made"
    files = {}
    for number in range(6):
        files[f"org/a{number}"] = build_text_adapter(made / f"a{number}", tiny_model, seed=number)
    build_text_adapter(folder / "volume/legal", tiny_model, seed=20)
    build_text_adapter(folder / "volume/text", tiny_model, seed=21)
    bad: dict[str, dict[str, Any]] = {
        "rank": {"rank": 64},
        "narrow": {"inputs": 64},
        "wide": {"inputs": 256},
        "nowhere": {"module": "cross.o_proj"},
        "foreign": {"module": "mlp.gate_and_more"},
    }
    for name, change in bad.items():
        files[f"org/{name}"] = build_text_adapter(made / name, tiny_model, **change)
    repositories = {name: repository_of(path) for name, path in files.items()}
    good = repositories["org/a0"].files
    broken = {
        "no-config": {WEIGHTS: good[WEIGHTS]},
        "no-weights": {CONFIG: good[CONFIG]},
        "pickle": {CONFIG: good[CONFIG], "adapter_model.bin": b"cos\nsystem\n"},
        "cut": {CONFIG: good[CONFIG], WEIGHTS: good[WEIGHTS][:1000]},
        "noise": {CONFIG: b"{]", WEIGHTS: good[WEIGHTS]},
        "list": {CONFIG: b"[1]", WEIGHTS: good[WEIGHTS]},
        "types": {CONFIG: good[CONFIG].replace(b'"r": 8', b'"r": [8]'), WEIGHTS: good[WEIGHTS]},
        "prompts": {CONFIG: b'{"peft_type": "PROMPT_TUNING"}', WEIGHTS: good[WEIGHTS]},
        "mended": {WEIGHTS: good[WEIGHTS]},
        "outage": good,
        "slow": good,
        "once": repository_of(made / "a5").files,
    }
    repositories |= {f"org/{name}": Repository(dict(content)) for name, content in broken.items()}
    repositories["other/a0"] = Repository(good)
    repositories["org/private"] = Repository(good, token="another")
    repositories["org/gated"] = Repository(good, token="another", gated=True)
    repositories["org/own"] = Repository(good, token=TOKEN)
    with Hub(repositories) as running:
        yield running


@pytest.fixture(scope="module")
def environ(hub: Hub, folder: Path, tiny_model: Path) -> dict[str, str]:
    return make_environ(
        tiny_model,
        LORA_ALLOWED=f"org/*, {folder / 'volume'}",
        MAX_LORA_RANK="16",
        MAX_LORAS=str(SLOTS),
        MAX_CPU_LORAS=str(KEPT),
        API_SERVER_COUNT=str(SERVERS),
        ENGINE_STALL_TIMEOUT_S=str(2 * WAIT_S),
        USAGE_RECORDS="true",
        HF_HUB_DISABLE_TELEMETRY="1",
        HF_HUB_OFFLINE="0",
        HF_ENDPOINT=hub.url,
        HF_HOME=str(folder / "cache"),
        HF_TOKEN=TOKEN,
    )


@pytest.fixture(scope="module")
def output() -> list[str]:
    return []


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def served(environ: dict[str, str], output: list[str]) -> AsyncIterator[LocalDeployment]:
    async with deploy(environ, output) as running:
        yield running
    assert TOKEN not in "".join(output)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def named(served: LocalDeployment) -> AsyncIterator[Api]:
    async with connect(served) as connected:
        yield connected


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def openai_client(served: LocalDeployment) -> AsyncIterator[openai.AsyncOpenAI]:
    async with open_client(served.endpoint.openai_url) as connected:
        yield connected


async def answer(api: Api, model: str) -> str:
    job = await api.runsync({"prompt": "Once", "model": model, "sampling_params": PARAMS})
    assert job["status"] == "COMPLETED", job
    return "".join(job["output"][0]["choices"][0]["tokens"])


async def refusal(api: Api, model: str) -> dict[str, Any]:
    job = await api.runsync({"prompt": "Once", "model": model, "sampling_params": PARAMS})
    assert job["status"] == "FAILED", job
    error: dict[str, Any] = json.loads(job["error"])["error"]
    assert error["param"] == "model"
    assert "Traceback" not in job["error"]
    return error


async def test_adapter_from_the_hub_answers_every_form_of_request(
    named: Api, openai_client: openai.AsyncOpenAI, output: list[str]
) -> None:
    base, adapted = await answer(named, MODEL), await answer(named, "org/a0")
    assert adapted != base
    assert await answer(named, "org/a0@main") == adapted
    completion = await openai_client.completions.create(
        model="org/a0", prompt="Once", max_tokens=8, temperature=0, extra_body={"ignore_eos": True}
    )
    assert (completion.model, completion.choices[0].text) == ("org/a0", adapted)
    stream = await openai_client.chat.completions.create(
        model="org/a1", messages=[{"role": "user", "content": "Hi"}], max_tokens=3, stream=True
    )
    assert {chunk.model async for chunk in stream} == {"org/a1"}
    job = await named.runsync({"prompt": "Once", "model": "org/a0", "sampling_params": PARAMS})
    assert (await find_record(output, job["id"]))["model"] == "org/a0"


async def test_folder_adapter_answers_and_is_gone_with_its_files(named: Api, folder: Path) -> None:
    assert await answer(named, "legal") != await answer(named, MODEL)
    shutil.rmtree(folder / "volume/legal")
    # Others take its place in memory: reading it again would end the engine.
    for number in range(KEPT + 1):
        await answer(named, f"org/a{number}")
    error = await refusal(named, "legal")
    assert (error["status"], error["code"]) == (404, "model_not_found")
    await answer(named, MODEL)


async def test_adapter_called_like_a_modality_is_not_its_default(
    named: Api, openai_client: openai.AsyncOpenAI
) -> None:
    async def chat() -> str | None:
        answered = await openai_client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
            max_tokens=8,
            temperature=0,
            extra_body={"ignore_eos": True},
        )
        return answered.choices[0].message.content

    before = await chat()
    assert await answer(named, "text") != await answer(named, MODEL)
    assert {await chat() for _ in range(2 * SERVERS)} == {before}


async def test_many_requests_for_one_adapter_fetch_it_once(named: Api, hub: Hub) -> None:
    before = len(hub.asked)
    answers = await asyncio.gather(*(answer(named, "org/once") for _ in range(20)))
    assert len(set(answers)) == 1
    fetched = [line for line in hub.asked[before:] if line.startswith("GET /org/once/")]
    assert sorted(line.rpartition("/")[2] for line in fetched) == [CONFIG, WEIGHTS]


async def test_more_adapters_than_fit_take_turns(named: Api) -> None:
    names = [f"org/a{number}" for number in range(6)]
    first = {name: await answer(named, name) for name in names}
    assert len(set(first.values())) == len(names)
    again = await asyncio.gather(*(answer(named, name) for name in names * 4))
    assert again == [first[name] for name in names * 4]


async def test_models_are_the_same_list_from_each_server(
    named: Api, openai_client: openai.AsyncOpenAI
) -> None:
    await answer(named, "org/a0")
    lists = [[m.id for m in (await openai_client.models.list()).data] for _ in range(8)]
    assert {tuple(sorted(ids)) for ids in lists} == {tuple(sorted(lists[0]))}
    assert lists[0][0] == MODEL
    assert "org/a0" in lists[0]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("other/a0", "LORA_ALLOWED"),
        ("../../etc", "LORA_ALLOWED"),
        ("/etc/passwd", "LORA_ALLOWED"),
        ("org/../other/a0", "LORA_ALLOWED"),
        ("org/a0@../main", "LORA_ALLOWED"),
        ("volume/../made/a0", "LORA_ALLOWED"),
        ("..", "LORA_ALLOWED"),
        ("org/\n", "LORA_ALLOWED"),
        ("org/none", "no such repository"),
        ("org/a--b..c", "LORA_ALLOWED"),
        ("org/a--b", "no such repository"),
        ("org/a0@none", "no such revision"),
        ("org/private", "HF_TOKEN"),
        ("org/gated", "gated"),
    ],
)
async def test_adapter_that_is_not_there_is_no_model(named: Api, name: str, reason: str) -> None:
    error = await refusal(named, name)
    assert (error["status"], error["code"]) == (404, "model_not_found")
    assert reason in error["message"]


async def test_private_adapter_is_read_with_the_token(named: Api) -> None:
    assert await answer(named, "org/own") == await answer(named, "org/a0")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("org/rank", "LoRA rank 64 is greater than MAX_LORA_RANK, 16"),
        ("org/narrow", "has 64 inputs, the model's 128; it was made for org/base"),
        ("org/wide", "has 256 inputs, the model's 128"),
        ("org/foreign", "layers that the model does not have"),
        ("org/nowhere", "changes no layer"),
        ("org/no-config", "has no adapter_config.json"),
        ("org/no-weights", "has no adapter_model.safetensors"),
        ("org/pickle", "has no adapter_model.safetensors"),
        ("org/cut", "cannot load its weights"),
        ("org/noise", "cannot be read"),
        ("org/list", "does not describe a LoRA adapter"),
        ("org/prompts", "does not describe a LoRA adapter"),
        ("org/types", "values of wrong types"),
    ],
)
async def test_adapter_that_does_not_fit_is_refused_each_time(
    named: Api, name: str, reason: str
) -> None:
    for _ in range(2 * SERVERS):
        error = await refusal(named, name)
        assert (error["status"], error["code"]) == (400, "adapter_unusable")
        assert reason in error["message"]
        assert str(Path.cwd()) not in error["message"]
    await answer(named, MODEL)


async def test_failures_are_not_remembered(named: Api, hub: Hub) -> None:
    assert (await refusal(named, "org/mended"))["code"] == "adapter_unusable"
    mended = hub.repositories["org/a0"].files[CONFIG]
    hub.repositories["org/mended"].files[CONFIG] = mended
    assert await answer(named, "org/mended") == await answer(named, "org/a0")


async def test_hub_that_fails_is_an_error_that_may_pass(
    named: Api, hub: Hub, openai_client: openai.AsyncOpenAI
) -> None:
    hub.repositories["org/outage"].outage = 501
    error = await refusal(named, "org/outage")
    assert (error["status"], error["code"]) == (503, "adapter_unavailable")
    assert error["retryable"] is True
    with pytest.raises(openai.InternalServerError, match="could not be fetched"):
        await openai_client.completions.create(model="org/outage", prompt="Once", max_tokens=1)
    hub.repositories["org/outage"].outage = None
    await answer(named, "org/outage")


async def test_hub_that_hangs_ends_the_wait_and_not_the_worker(named: Api, hub: Hub) -> None:
    held = hub.repositories["org/slow"].held = threading.Event()
    try:
        async with asyncio.timeout(WAIT_S + 5):
            errors = await asyncio.gather(*(refusal(named, "org/slow") for _ in range(3)))
        assert {(e["status"], e["code"]) for e in errors} == {(503, "adapter_unavailable")}
        await answer(named, MODEL)
    finally:
        held.set()
    async with asyncio.timeout(WAIT_S + 5):
        while True:
            job = await named.runsync({"prompt": "Once", "model": "org/slow"})
            if job["status"] == "COMPLETED":
                break


async def test_adapters_answer_over_http_and_other_names_do_not(
    served: LocalDeployment, caplog: pytest.LogCaptureFixture
) -> None:
    async with aiohttp.ClientSession() as session, serve_http_with(served) as url:
        body = {"model": "org/a0", "prompt": "Once", "max_tokens": 2}
        async with session.post(f"{url}/v1/completions", json=body) as response:
            assert (await response.json())["model"] == "org/a0"
            assert json.loads(response.headers["X-Worker-Usage"])["model"] == "org/a0"
        body["model"] = "other/a0"
        async with session.post(f"{url}/v1/completions", json=body) as response:
            assert response.status == 404
            assert (await response.json())["error"]["code"] == "model_not_found"
        load = {"lora_name": "x", "lora_path": "/etc"}
        async with session.post(f"{url}/v1/load_lora_adapter", json=load) as response:
            assert response.status in (403, 404)
    assert TOKEN not in caplog.text


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def embedder(environ: dict[str, str]) -> AsyncIterator[LocalDeployment]:
    settings = {"RUNNER": "pooling", "CONVERT": "embed", "API_SERVER_COUNT": "1"}
    async with deploy({**environ, **settings}, []) as running:
        yield running


async def test_adapter_changes_the_embeddings_of_a_pooling_model(
    embedder: LocalDeployment,
) -> None:
    async with open_client(embedder.endpoint.openai_url) as client:

        async def embed(model: str) -> tuple[str, list[float]]:
            answered = await client.embeddings.create(model=model, input="Once")
            return answered.model, answered.data[0].embedding

        base, first, second = [await embed(name) for name in (MODEL, "org/a0", "org/a1")]
        assert [name for name, _ in (base, first, second)] == [MODEL, "org/a0", "org/a1"]
        for one, other in ((base, first), (base, second), (first, second)):
            assert one[1] != pytest.approx(other[1], abs=1e-3)
        assert (await embed("org/a0"))[1] == pytest.approx(first[1], abs=1e-3)
        assert (await embed(MODEL))[1] == pytest.approx(base[1], abs=1e-3)
        with pytest.raises(openai.APIError) as refused:
            await embed("other/a0")
        assert refused.value.code == "model_not_found"
