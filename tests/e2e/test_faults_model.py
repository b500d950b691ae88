"""A model for images: where it may fetch them; then its forward fails, and the next worker's too.

The second worker finds the jobs that the first one left, and may fetch from private addresses.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from PIL import Image

from tests.e2e.support.broken_model import ALLOCATE, ORDER, RAISE, SLOW, install
from tests.e2e.support.deployment import Api, connect, deploy, make_environ
from tests.e2e.support.process_tree import descendants, wait_gone
from tests.e2e.support.tiny_vision import CONTEXT, build_tiny_vision
from worker.errors import ExitCode
from worker_tools.dev import LocalDeployment
from worker_tools.dev.deployment import DEFAULTS
from worker_tools.dev.process import WorkerProcess

pytestmark = [pytest.mark.faults, pytest.mark.asyncio(loop_scope="module")]

QUESTION = "What is it?"
LONG = {"prompt": "On", "sampling_params": {"n": 8, "max_tokens": 900, "ignore_eos": True}}


def draw() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(file, "PNG")
    return file.getvalue()


PICTURE = draw()
DATA_URL = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"


@dataclass
class Neighbour:
    """A service in the worker's own network, that no job has any business with."""

    port: int = 0
    asked: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        return web.Response(body=PICTURE, content_type="image/png")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def neighbour() -> AsyncIterator[Neighbour]:
    found = Neighbour()
    app = web.Application()
    app.router.add_get("/{path:.*}", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.port = runner.addresses[0][1]
    yield found
    await runner.cleanup()


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    model = build_tiny_vision(tmp_path_factory.mktemp("models") / "tiny-vision")
    plugin = install(tmp_path_factory.mktemp("plugin"))
    return {**make_environ(model, MAX_MODEL_LEN=str(CONTEXT)), **plugin}


@pytest.fixture(scope="module")
def output() -> list[str]:
    """What the first worker has printed so far."""
    return []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def first(
    environ: dict[str, str], output: list[str]
) -> AsyncIterator[tuple[LocalDeployment, Api]]:
    async with deploy(environ, output) as running, connect(running) as api:
        yield running, api


def chat(url: str) -> dict[str, Any]:
    picture = {"type": "image_url", "image_url": {"url": url}}
    message = {"role": "user", "content": [picture, {"type": "text", "text": QUESTION}]}
    return {
        "openai_route": "/v1/chat/completions",
        "openai_input": {"messages": [message], "max_tokens": 4},
    }


def responses(url: str) -> dict[str, Any]:
    picture = {"type": "input_image", "image_url": url, "detail": "auto"}
    text = {"type": "input_text", "text": QUESTION}
    return {
        "route": "/v1/responses",
        "body": {"input": [{"role": "user", "content": [picture, text]}], "max_output_tokens": 4},
    }


def messages(url: str) -> dict[str, Any]:
    picture = {"type": "image", "source": {"type": "url", "url": url}}
    message = {"role": "user", "content": [picture, {"type": "text", "text": QUESTION}]}
    return {"route": "/v1/messages", "body": {"messages": [message], "max_tokens": 4}}


def native(url: str) -> dict[str, Any]:
    return {
        "messages": chat(url)["openai_input"]["messages"],
        "sampling_params": {"max_tokens": 4},
    }


@pytest.mark.parametrize("ask", [chat, responses, messages, native])
@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        pytest.param("http://127.0.0.1:{port}/x.png", "ALLOW_PRIVATE_MEDIA", id="loopback"),
        pytest.param("http://localhost:{port}/x.png", "ALLOW_PRIVATE_MEDIA", id="name"),
        pytest.param("http://[::ffff:127.0.0.1]:{port}/", "ALLOW_PRIVATE_MEDIA", id="mapped"),
        pytest.param("http://169.254.169.254/latest/", "ALLOW_PRIVATE_MEDIA", id="metadata"),
        pytest.param("file:///etc/hostname", "ALLOWED_LOCAL_MEDIA_PATH", id="file"),
    ],
)
async def test_media_from_within_is_refused(
    first: tuple[LocalDeployment, Api], neighbour: Neighbour, ask: Any, url: str, remedy: str
) -> None:
    job = await first[1].runsync(ask(url.format(port=neighbour.port)))
    assert job["status"] == "FAILED", job
    error = json.loads(job["error"])["error"]
    assert (error["status"], error["code"]) == (400, "invalid_request")
    assert remedy in error["message"]
    assert neighbour.asked == []


@pytest.mark.parametrize("ask", [chat, responses, messages, native])
async def test_media_in_the_request_is_read(first: tuple[LocalDeployment, Api], ask: Any) -> None:
    job = await first[1].runsync(ask(DATA_URL))
    assert job["status"] == "COMPLETED", job


CANARY = "canary-91f4"

SECRETIVE = {
    "messages": [{"role": "user", "content": f"{CANARY} in a prompt of some length " * 4}],
    "max_tokens": 4,
    "user": CANARY,
    "request_id": CANARY,
    "cache_salt": CANARY,
    "stop": [CANARY, f"{CANARY}\n2"],
    "bad_words": [CANARY],
    "structured_outputs": {"choice": [CANARY, f"{CANARY}\n2"]},
    "vllm_xargs": {CANARY: CANARY},
    "chat_template_kwargs": {CANARY: CANARY},
    "metadata": {CANARY: CANARY},
    "logit_bias": {"7": 31.4142},
}
"""A canary in every member that a request's author fills with text."""


async def break_forward(worker: WorkerProcess, api: Api, environ: dict[str, str], how: str) -> None:
    """Let the forward fail under a running job; see the job, the worker and its processes end."""
    tree = {worker.pid, *descendants(worker.pid)}
    order = Path(environ[ORDER])
    order.write_text(SLOW)  # so that the job still runs when the next order comes
    running = await api.run(LONG)
    await api.wait_for(running, "IN_PROGRESS")
    order.write_text(how)
    last = await api.run({"openai_route": "/v1/chat/completions", "openai_input": SECRETIVE})
    async with asyncio.timeout(20):
        refused = await api.wait_for(last, "FAILED", "COMPLETED")
        assert "engine_died" in refused.get("error", ""), refused
        job = await api.wait_for(running, "FAILED", "COMPLETED")
        error = json.loads(job["error"])["error"]
        assert (error["code"], error["retryable"]) == ("engine_died", True)
        assert await worker.wait() == ExitCode.ENGINE_DIED
    order.unlink()
    await wait_gone(tree)


async def test_exception_in_the_forward_ends_the_worker(
    first: tuple[LocalDeployment, Api], environ: dict[str, str], output: list[str]
) -> None:
    deployment, api = first
    await break_forward(deployment.processes[0], api, environ, RAISE)
    printed = "\n".join(output)
    assert "a layer of the model is broken" in printed
    dump = next(line for line in output if "Dumping scheduler output" in line)
    assert "NewRequestData(req_id=<" in dump, "the new request is not in the dump"
    assert "structured_outputs=StructuredOutputsParams(" in dump, dump
    assert not [line for line in output if CANARY in line or "31.41" in line]


async def test_next_worker_serves_the_queued_job_and_ends_when_memory_runs_out(
    first: tuple[LocalDeployment, Api], neighbour: Neighbour, environ: dict[str, str]
) -> None:
    deployment, api = first
    left = await api.run(chat(f"http://127.0.0.1:{neighbour.port}/allowed.png"))
    platform = deployment.endpoint.worker_environment("worker-2")
    worker = WorkerProcess("worker-2", on_output=lambda _worker, _line: None)
    await worker.start(
        deployment.command, {**DEFAULTS, **environ, **platform, "ALLOW_PRIVATE_MEDIA": "true"}
    )
    try:
        async with asyncio.timeout(60):
            job = await api.wait_for(left, "COMPLETED", "FAILED")
        assert job["status"] == "COMPLETED", job
        assert neighbour.asked == ["/allowed.png"]
        await break_forward(worker, api, environ, ALLOCATE)
    finally:
        worker.kill()
        await worker.wait()
