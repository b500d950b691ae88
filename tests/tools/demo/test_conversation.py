"""The demo's conversation against small servers and workers that stand for the real ones."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from rich.console import Console

from worker.errors import ExitCode, UnavailableError
from worker_tools.demo import conversation
from worker_tools.demo.conversation import (
    AnswerError,
    Timing,
    WorkerOutput,
    ask_native,
    ask_openai,
    read_native_reply,
    run_demo,
)
from worker_tools.dev.deployment import LocalDeployment

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    runners: list[web.AppRunner] = []

    async def start(handle: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> str:
        app = web.Application()
        app.router.add_post("/{path:.*}", handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=40, highlight=False)


def read(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def stream(*texts: str, tokens: int) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        chunks: list[dict[str, Any]] = [
            {"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts
        ]
        chunks.append({"choices": [], "usage": {"completion_tokens": tokens}})
        for chunk in chunks:
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    return handle


async def test_ask_openai_prints_the_chunks_as_one_text(serve: Serve, console: Console) -> None:
    url = await serve(stream("", "The [bold]capital", " is :fr: 巴黎.", tokens=6))
    timing = await ask_openai(url, "What?", console)
    assert read(console) == "> What?\nThe [bold]capital is :fr: 巴黎.\n"
    assert timing.tokens == 6
    assert timing.first_s is not None
    assert 0 < timing.first_s <= timing.total_s


async def test_ask_openai_without_text_fails(serve: Serve, console: Console) -> None:
    with pytest.raises(AnswerError, match="no text"):
        await ask_openai(await serve(stream("", tokens=0)), "What?", console)


async def test_ask_openai_error_is_repeated(serve: Serve, console: Console) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "the model is away"}}, status=404)

    with pytest.raises(AnswerError, match="the model is away"):
        await ask_openai(await serve(refuse), "What?", console)


async def test_ask_native_prints_the_text(serve: Serve, console: Console) -> None:
    asked: list[Any] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.path, await request.json()))
        output = [{"choices": [{"tokens": ["Tok", "yo"]}], "usage": {"input": 9, "output": 2}}]
        return web.json_response({"id": "1", "status": "COMPLETED", "output": output})

    timing = await ask_native(await serve(answer), "Where?", console)
    assert read(console) == "> Where?\nTokyo\n"
    assert (timing.tokens, timing.first_s) == (2, None)
    [(path, body)] = asked
    assert path == "/runsync"
    assert body["input"]["messages"] == [{"role": "user", "content": "Where?"}]


async def test_ask_native_reply_that_is_not_json_is_an_error(
    serve: Serve, console: Console
) -> None:
    async def fail(_: web.Request) -> web.Response:
        return web.Response(text="oops", status=500)

    with pytest.raises(UnavailableError, match="/runsync"):
        await ask_native(await serve(fail), "Where?", console)


@pytest.mark.parametrize(
    "reply",
    [
        {"status": "FAILED", "error": "no such model"},
        {"status": "COMPLETED", "output": []},
        {"status": "COMPLETED", "output": [{"choices": [{"tokens": []}], "usage": {"output": 0}}]},
        {"status": "COMPLETED", "output": {"error": "x"}},
        ["nothing"],
    ],
    ids=["failed", "no-chunks", "no-text", "error-object", "not-an-object"],
)
def test_read_native_reply_without_an_answer_shows_the_reply(reply: Any) -> None:
    with pytest.raises(AnswerError, match="returned no text"):
        read_native_reply(reply)


def test_read_native_reply_joins_the_chunks() -> None:
    chunks = [
        {"choices": [{"tokens": ["a", "b"]}], "usage": {"output": 2}},
        {"choices": [{"tokens": ["c"]}], "usage": {"output": 3}},
    ]
    assert read_native_reply({"output": chunks}) == ("abc", 3)


@pytest.mark.parametrize(
    ("timing", "text"),
    [
        (Timing(1.234, 8, 0.0456), "TTFT 46 ms, 8 tokens in 1.23 s"),
        (Timing(0.5, 3), "3 tokens in 0.50 s"),
    ],
    ids=["streamed", "whole"],
)
def test_timing_is_written_in_seconds_and_rate(timing: Timing, text: str) -> None:
    assert str(timing) == text


def test_worker_output_shows_own_lines_and_keeps_all(console: Console) -> None:
    output = WorkerOutput(console)
    output.take("worker-1", "12:00:01 INFO engine,  0.1 s: importing vLLM")
    output.take("worker-1", "WARNING 11-23 something of vLLM's [cpu.py:1]")
    assert read(console) == "  engine,  0.1 s: importing vLLM\n"
    output.show_tail()
    assert read(console).splitlines()[1:] == [
        "  | 12:00:01 INFO engine,  0.1 s: importing vLLM",
        "  | WARNING 11-23 something of vLLM's [cpu.py:1]",
    ]


def test_run_demo_no_model_ends_with_its_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> Path:
        raise UnavailableError("no room")

    monkeypatch.setattr(conversation, "prepare_demo_model", fail)
    assert run_demo({}) == ExitCode.UNAVAILABLE
    assert capsys.readouterr().err == "worker demo: no room\n"


def test_run_demo_worker_that_fails_shows_its_output_and_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    dying = "import sys; print('the GPU is on fire'); sys.exit(3)"
    monkeypatch.setattr(conversation, "prepare_demo_model", lambda *_, **__: tmp_path)
    monkeypatch.setattr(LocalDeployment, "command", (sys.executable, "-c", dying))
    assert run_demo({**os.environ}) == ExitCode.ENGINE_START
    out, err = capsys.readouterr()
    assert "  | the GPU is on fire\n" in out
    assert "worker demo: worker worker-1 exited 3" in err


DEMO = """
import os, sys
from pathlib import Path
from worker_tools.demo import conversation
from worker_tools.dev.deployment import LocalDeployment
conversation.prepare_demo_model = lambda *_, **__: Path("/nowhere")
LocalDeployment.command = (sys.executable, "-c", sys.argv[1])
sys.exit(conversation.run_demo(os.environ))
"""
STUBBORN_WORKER = """
import os, time
print("12:00:00 INFO pid", os.getpid(), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
async def test_run_demo_signal_stops_the_worker(number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DEMO, STUBBORN_WORKER, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        while not (line := (await process.stdout.readline()).decode()).startswith("  pid "):
            assert line, "the worker was not started"
        process.send_signal(number)
        rest = (await process.stdout.read()).decode()
        assert await process.wait() == 128 + number
        assert "nothing keeps running" in rest
        with pytest.raises(ProcessLookupError):
            os.kill(int(line.split()[1]), 0)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
