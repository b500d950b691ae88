"""A local endpoint with a worker in this process that answers lines of a batch."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from worker_tools.dev import Limits, LocalEndpoint


def make_line(number: int, **members: Any) -> dict[str, Any]:
    body = {"prompt": f"prompt {number}", "max_tokens": 4}
    return {
        "custom_id": f"r-{number}",
        "method": "POST",
        "url": "/v1/completions",
        "body": body,
        **members,
    }


def write_lines(path: Path, count: int) -> Path:
    path.write_text("".join(json.dumps(make_line(n)) + "\n" for n in range(count)))
    return path


class LineWorker:
    """Takes jobs from an endpoint's queue and answers them.

    Attributes:
        processed: How often each `custom_id` was processed.
        broken: Answers in place of the usual ones, by `custom_id`.
    """

    def __init__(self, endpoint: LocalEndpoint) -> None:
        self._store = endpoint.store
        self.processed: Counter[str] = Counter()
        self.broken: dict[str, dict[str, Any]] = {}

    async def serve(self) -> None:
        while True:
            jobs = await self._store.take("w1", 7)
            self._store.confirm(jobs)
            for job in reversed(jobs):
                line = job.request.input
                self.processed[line["custom_id"]] += 1
                answer = self.broken.get(line["custom_id"]) or answer_line(line)
                self._store.finish("w1", job.id, answer, 0)


def answer_line(line: dict[str, Any]) -> dict[str, Any]:
    body = {
        "id": f"cmpl-{line['custom_id']}",
        "choices": [{"text": line["body"].get("prompt", "").upper()}],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 1},
        },
    }
    response = {"status_code": 200, "request_id": body["id"], "body": body}
    return {"output": [{"custom_id": line["custom_id"], "response": response, "error": None}]}


@asynccontextmanager
async def serve_lines(**limits: Any) -> AsyncIterator[tuple[LocalEndpoint, LineWorker]]:
    """Run an endpoint and its worker."""
    endpoint = LocalEndpoint(limits=Limits(take_hold_s=0.05, **limits))
    await endpoint.start()
    worker = LineWorker(endpoint)
    serving = asyncio.create_task(worker.serve())
    try:
        yield endpoint, worker
    finally:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
        await endpoint.stop()


@pytest.fixture
def start_worker() -> Callable[..., AbstractAsyncContextManager[tuple[LocalEndpoint, LineWorker]]]:
    return serve_lines


@pytest.fixture
def write_file() -> Callable[[Path, int], Path]:
    return write_lines


@pytest.fixture
async def endpoint() -> AsyncIterator[LocalEndpoint]:
    """An endpoint without a worker, unless the test has `line_worker`."""
    opened = LocalEndpoint(limits=Limits(take_hold_s=0.05))
    await opened.start()
    yield opened
    await opened.stop()


@pytest.fixture
async def line_worker(endpoint: LocalEndpoint) -> AsyncIterator[LineWorker]:
    worker = LineWorker(endpoint)
    serving = asyncio.create_task(worker.serve())
    yield worker
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving
