"""The command `worker demo`: one question by the OpenAI API and one by RunPod's, answered here."""

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

# Both were chosen because a model of this size is sure of the answer: every token is ahead of the
# next best by more than bfloat16's rounding can turn round.
STREAMED_QUESTION = "What is the capital of France? Answer in one sentence."
NATIVE_QUESTION = "What is the capital of Japan?"

MAX_TOKENS = 64
ANSWER_TIMEOUT_S = 120.0

OWN_LINE = re.compile(r"\d\d:\d\d:\d\d (?:DEBUG|INFO|WARNING|ERROR|CRITICAL) (?P<text>.*)")
"""A line of the worker's own log, as against vLLM's and the SDK's."""

JSON_REPORT = "start: {"
"""How the line begins that reports the start as JSON; people have read its phases by then."""

TAIL_LINES = 40
"""Lines of the worker's output, vLLM's included, that are shown when it fails."""


class AnswerError(WorkerError):
    """The worker answered with an error, or with nothing."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What one answer took.

    Attributes:
        total_s: From the request to its end, seconds.
        tokens: Tokens of the answer.
        first_s: From the request to the first text, seconds; None where it came in one piece.
    """

    total_s: float
    tokens: int
    first_s: float | None = None

    def __str__(self) -> str:
        total = f"{self.tokens} tokens in {self.total_s:.2f} s"
        return total if self.first_s is None else f"TTFT {self.first_s * 1000:.0f} ms, {total}"


class WorkerOutput:
    """Shows the worker's own log lines and keeps the last of all lines for a failure.

    Args:
        console: Where they go.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)

    def take(self, worker_id: str, line: str) -> None:
        """Take one line of a worker's output."""
        del worker_id  # There is one worker.
        self._tail.append(line)
        own = OWN_LINE.fullmatch(line)
        if own and not own["text"].startswith(JSON_REPORT):
            show(self._console, f"  {own['text']}", style="dim")

    def show_tail(self) -> None:
        """Show the last lines of the output."""
        for line in self._tail:
            show(self._console, f"  | {line}", style="dim")


def run_demo(environ: Mapping[str, str]) -> int:
    """Prepare the demo model, serve it here, ask it twice, and stop all of it again.

    Args:
        environ: Environment of the worker; its settings count, except for the model's.

    Returns:
        Exit status: 0 after two answers, 128 plus the signal's number after a signal, else that of
        what failed, which has been said on stderr.
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
    """Run `_converse`; return the exit status, a signal's if one came first."""
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
    """Ask by the official client and print the answer as it arrives.

    Args:
        base_url: Of the OpenAI API, without a slash at the end.
        question: The user's message.
        console: Where question and answer go.

    Raises:
        AnswerError: The API answered with an error, or with no text.
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
    """Ask by RunPod's client API with the worker's native input and print the answer.

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
        reply: What /runsync answered: `output` holds the pieces of the answer.

    Raises:
        AnswerError: The job is not completed, or has no text.
    """
    try:
        pieces = reply["output"]
        text = "".join(token for piece in pieces for token in piece["choices"][0]["tokens"])
        tokens = int(pieces[-1]["usage"]["output"])
    except (KeyError, IndexError, TypeError):
        text, tokens = "", 0
    if not text:
        raise AnswerError(f"/runsync gave no answer but {reply}")
    return text, tokens


def show(console: Console, text: str, style: str = "", end: str = "\n") -> None:
    """Print text as it is, markup characters included, never broken into lines of our own."""
    console.print(text, style=style, end=end, markup=False, emoji=False, soft_wrap=True)
