"""`worker batch` under SIGKILL: every request is answered once, and the answer is its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from worker_tools.dev import LocalEndpoint

TOKENS = 4
FAIL_EVERY = 97
"""Every so many requests one asks for what vLLM refuses."""

POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class KillReport:
    """What happened to a file.

    Attributes:
        requests: Requests of the file.
        answered: Lines of the output file.
        failed: Lines of the error file.
        kills: Commands that were killed.
        seconds: From the first start to the end of the last command.
        summary: What the last command printed.
    """

    requests: int
    answered: int
    failed: int
    kills: int
    seconds: float
    summary: str


def make_requests(count: int) -> Iterator[dict[str, Any]]:
    """Yield requests whose answers show what they answer."""
    for number in range(count):
        body: dict[str, Any] = {"max_tokens": TOKENS, "ignore_eos": True, "temperature": 0}
        if number % FAIL_EVERY == FAIL_EVERY - 1:
            body |= {"prompt": f"Request {number}", "max_tokens": -1}
        elif number % 2:
            message = {"role": "user", "content": f"Request {number}"}
            body |= {"messages": [message], "request_id": f"own-{number}"}
        else:
            body |= {"prompt": f"Request {number}: ", "echo": True}
        route = "chat/completions" if "messages" in body else "completions"
        yield {
            "custom_id": f"request-{number}",
            "method": "POST",
            "url": f"/v1/{route}",
            "body": body,
        }


async def run_with_kills(
    endpoint: LocalEndpoint, folder: Path, count: int, per_batch: int
) -> KillReport:
    """Send `count` requests; kill the command while it submits, and again while it follows.

    Raises:
        AssertionError: A request was lost, repeated or given another one's answer.
    """
    path = folder / "requests.jsonl"
    requests = list(make_requests(count))
    path.write_bytes(b"".join(map(encode, requests)))
    state = folder / "requests.jsonl.batch" / "state.json"

    def submitting() -> bool:
        return state.exists() and b"batch_" in state.read_bytes()

    def half_done() -> bool:
        return len([job for job in batch_jobs(endpoint) if job.final]) >= count // 2

    command = [
        *(sys.executable, "-m", "worker", "batch", str(path)),
        *("--endpoint", endpoint.url, "--requests-per-batch", str(per_batch)),
    ]
    began_s = time.monotonic()
    for moment in (submitting, half_done):
        await kill_at(command, moment)
    summary = await run_to_the_end(command)
    seconds = time.monotonic() - began_s
    answered, failed = check_answers(folder, requests)
    check_jobs(endpoint, requests)
    return KillReport(count, answered, failed, 2, seconds, summary)


async def kill_at(command: list[str], moment: Callable[[], bool]) -> None:
    """Start the command and kill it at a moment."""
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    while not moment():
        assert process.returncode is None, "the command ended before it could be killed"
        await asyncio.sleep(POLL_S)
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    assert process.returncode == -signal.SIGKILL, process.returncode


async def run_to_the_end(command: list[str]) -> str:
    """Run the command and return what it printed; some of the requests fail by intention."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 1, err.decode()
    return out.decode()


def batch_jobs(endpoint: LocalEndpoint) -> list[Any]:
    """Return the jobs that belong to a batch."""
    return [job for job in endpoint.jobs.values() if job.request.batch_id is not None]


def check_jobs(endpoint: LocalEndpoint, requests: list[dict[str, Any]]) -> None:
    """Assert that every request became one job, which was processed once."""
    jobs = batch_jobs(endpoint)
    times = Counter(job.request.input["custom_id"] for job in jobs)
    assert times == Counter(request["custom_id"] for request in requests)
    assert {job.attempt for job in jobs} == {1}


def check_answers(folder: Path, requests: list[dict[str, Any]]) -> tuple[int, int]:
    """Compare answers and failures with the requests, one to one; return their numbers."""
    answers = read(folder / "requests.output.jsonl")
    failures = read(folder / "requests.errors.jsonl")
    wrong = [each for each in requests if each["body"]["max_tokens"] < 0]
    right = [each for each in requests if each["body"]["max_tokens"] > 0]
    assert [each["custom_id"] for each in answers] == [each["custom_id"] for each in right]
    assert [each["custom_id"] for each in failures] == [each["custom_id"] for each in wrong]
    for request, answer in zip(right, answers, strict=True):
        check_answer(request["body"], answer["response"]["body"])
    for failure in failures:
        assert failure["response"]["status_code"] == 400, failure
    return len(answers), len(failures)


def check_answer(asked: dict[str, Any], got: dict[str, Any]) -> None:
    """Assert that an answer belongs to its request."""
    assert got["usage"]["completion_tokens"] == TOKENS, got
    if "messages" in asked:
        assert got["id"] == f"chatcmpl-{asked['request_id']}", got
    else:
        assert got["choices"][0]["text"].startswith(asked["prompt"]), got


def read(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def encode(request: dict[str, Any]) -> bytes:
    """Return a line of the file."""
    return orjson.dumps(request, option=orjson.OPT_APPEND_NEWLINE)
