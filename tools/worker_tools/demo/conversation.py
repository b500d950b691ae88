"""`worker demo`: one request through the OpenAI API and one through RunPod's API."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import openai
import uvloop
from openai.types.chat import ChatCompletionUserMessageParam
from rich.console import Console

from worker.errors import ExitCode, UnavailableError, WorkerError
from worker_tools.demo.model import MODEL_NAME, find_cache_dir, prepare_demo_model
from worker_tools.dev.deployment import LocalDeployment

# The answers of this small model to both questions are stable: every token leads the next best by
# more than the rounding error of bfloat16.
STREAMED_QUESTION = "What is the capital of France? Answer in one sentence."
NATIVE_QUESTION = "What is the capital of Japan?"

MAX_TOKENS = 64
ANSWER_TIMEOUT_S = 120.0

OWN_LINE = re.compile(r"\d\d:\d\d:\d\d (?:DEBUG|INFO|WARNING|ERROR|CRITICAL) (?P<text>.*)")
"""A log line of the worker, not of vLLM or the SDK."""

JSON_REPORT = "start: {"
"""Start of the JSON line about the start-up. It is not shown, because text lines show the same."""

TAIL_LINES = 40
"""Last lines of the output of worker and vLLM that are shown after a failure."""


class AnswerError(WorkerError):
    """The worker answered with an error or without text."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Duration and size of one answer.

    Attributes:
        total_s: From the request to its end, seconds.
        tokens: Tokens of the answer.
        first_s: From the request to the first text, seconds; None if the answer was not streamed.
    """

    total_s: float
    tokens: int
    first_s: float | None = None

    def __str__(self) -> str:
        total = f"{self.tokens} tokens in {self.total_s:.2f} s"
        return total if self.first_s is None else f"TTFT {self.first_s * 1000:.0f} ms, {total}"


class WorkerOutput:
    """Print the worker's log lines and keep the last lines of all output for a failure.

    Args:
        console: Where they go.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)

    def take(self, worker_id: str, line: str) -> None:
        """Handle one line of a worker's output."""
        del worker_id  # There is one worker.
        self._tail.append(line)
        own = OWN_LINE.fullmatch(line)
        if own and not own["text"].startswith(JSON_REPORT):
            show(self._console, f"  {own['text']}", style="dim")

    def show_tail(self) -> None:
        """Print the last lines of the output."""
        for line in self._tail:
            show(self._console, f"  | {line}", style="dim")


def run_demo(environ: Mapping[str, str]) -> int:
    """Prepare the demo model, serve it, send it two requests and stop.

    Args:
        environ: Environment of the worker; the settings of the model are replaced.

    Returns:
        Exit status: 0 after two answers, 128 plus the number of a signal, else that of the error,
        which was printed on stderr.
    """
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    started = time.monotonic()
    try:
        model = prepare_demo_model(find_cache_dir(environ), report=lambda text: show(errors, text))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            status = runner.run(_serve_and_converse(environ, model, console))
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except WorkerError as error:
        show(errors, f"worker demo: {error}", style="red")
        return int(error.exit_code)
    stopped = f"Stopped, nothing keeps running; {time.monotonic() - started:.0f} s in all."
    show(console, stopped, style="dim")
    return status


async def _serve_and_converse(environ: Mapping[str, str], model: Path, console: Console) -> int:
    """Run `_converse` until it ends or a signal arrives; return the exit status."""
    received: list[int] = []
    conversation = asyncio.create_task(_converse(environ, model, console))

    def stop(number: int) -> None:
        received.append(number)
        conversation.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    await asyncio.wait({conversation})
    if received:
        return 128 + received[0]
    conversation.result()
    return ExitCode.OK


async def _converse(environ: Mapping[str, str], model: Path, console: Console) -> None:
    output = WorkerOutput(console)
    settings = {"MODEL_NAME": str(model), "OPENAI_SERVED_MODEL_NAME_OVERRIDE": MODEL_NAME}
    deployment = LocalDeployment(environ={**environ, **settings}, on_output=output.take)
    try:
        async with deployment:
            url = deployment.endpoint.url
            show(console, f"RunPod endpoint on this machine: {url}", style="bold")
            await deployment.wait_ready()
            show(console, "\nopenai client, streamed, POST /openai/v1/chat/completions", "bold")
            timing = await ask_openai(deployment.endpoint.openai_url, STREAMED_QUESTION, console)
            show(console, f"{timing}", "dim")
            show(console, "\nRunPod's own input, POST /runsync", "bold")
            timing = await ask_native(url, NATIVE_QUESTION, console)
            show(console, f"{timing}\n", "dim")
    except WorkerError:
        output.show_tail()
        raise


async def ask_openai(base_url: str, question: str, console: Console) -> Timing:
    """Send a request with the official client and print the answer as it arrives.

    Args:
        base_url: Of the OpenAI API, without a slash at the end.
        question: The user's message.
        console: Where question and answer go.

    Raises:
        AnswerError: The API answered with an error or without text.
    """
    show(console, f"> {question}", "cyan")
    message: ChatCompletionUserMessageParam = {"role": "user", "content": question}
    started, first_s, tokens = time.monotonic(), None, 0
    try:
        async with openai.AsyncOpenAI(
            base_url=base_url, api_key="local", max_retries=0, timeout=ANSWER_TIMEOUT_S
        ) as client:
            stream = await client.chat.completions.create(
                model=MODEL_NAME,
                messages=[message],
                max_tokens=MAX_TOKENS,
                temperature=0,
                stream=True,
                stream_options={"include_usage": True},
            )
            async for chunk in stream:
                text = chunk.choices[0].delta.content if chunk.choices else None
                if text:
                    first_s = first_s or time.monotonic() - started
                    show(console, text, end="")
                if chunk.usage:
                    tokens = chunk.usage.completion_tokens
    except openai.APIError as error:
        raise AnswerError(f"{base_url}/chat/completions: {error.message}") from error
    finally:
        show(console, "")
    if first_s is None:
        raise AnswerError(f"{base_url}/chat/completions: the answer has no text")
    return Timing(time.monotonic() - started, tokens, first_s)


async def ask_native(url: str, question: str, console: Console) -> Timing:
    """Send native input through RunPod's API and print the answer.

    Args:
        url: Of the endpoint, without a slash at the end.
        question: The user's message.
        console: Where question and answer go.

    Raises:
        AnswerError: The job failed, or its output has no text.
    """
    show(console, f"> {question}", "cyan")
    job = {
        "input": {
            "messages": [{"role": "user", "content": question}],
            "sampling_params": {"max_tokens": MAX_TOKENS, "temperature": 0},
        }
    }
    started = time.monotonic()
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(f"{url}/runsync", json=job) as response,
        ):
            reply = await response.json()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise UnavailableError(f"{url}/runsync: {type(error).__name__}: {error}") from error
    total_s = time.monotonic() - started
    text, tokens = read_native_reply(reply)
    show(console, text)
    return Timing(total_s, tokens)


def read_native_reply(reply: Any) -> tuple[str, int]:
    """Return the text of a finished job and its number of tokens.

    Args:
        reply: The response of /runsync; `output` has the chunks of the answer.

    Raises:
        AnswerError: The job did not complete, or its output has no text.
    """
    try:
        chunks = reply["output"]
        text = "".join(token for chunk in chunks for token in chunk["choices"][0]["tokens"])
        tokens = int(chunks[-1]["usage"]["output"])
    except (KeyError, IndexError, TypeError):
        text, tokens = "", 0
    if not text:
        raise AnswerError(f"/runsync returned no text: {reply}")
    return text, tokens


def show(console: Console, text: str, style: str = "", end: str = "\n") -> None:
    """Print text without interpreting markup and without wrapping lines."""
    console.print(text, style=style, end=end, markup=False, emoji=False, soft_wrap=True)
