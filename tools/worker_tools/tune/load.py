"""Runs loads in a process with vLLM's client, and reads what it measures."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from worker.engine.parent_death import die_with_parent
from worker.errors import UnavailableError, WorkerError
from worker_tools.runpod_api import KEY_VARIABLE
from worker_tools.tune.measurement import Load, Measurement
from worker_tools.tune.target import CLIENT_KEY, Target

COMMAND = (sys.executable, "-m", "worker_tools.tune.load_process")
LINE_BYTES = 64 * 1024**2
"""A result has two figures of each request."""

NO_VLLM = (
    "the load comes from vLLM's own client, and vLLM is not installed here; "
    "pip install 'runpod-vllm-worker[cpu]', or run this in the worker's image"
)


class LoadError(WorkerError):
    """A load could not be run."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked.

    Attributes:
        route: Route of OpenAI's API.
        model: Name of the model.
        prompt_tokens: Tokens of a random prompt.
        answer_tokens: Tokens of its answer.
        requests_file: The user's own requests instead.
        tokenizer: Makes the random prompts; None with own requests.
        timeout_s: Maximum time for one request, seconds.
    """

    route: str
    model: str
    prompt_tokens: int
    answer_tokens: int
    requests_file: Path | None
    tokenizer: str | None
    timeout_s: float

    def __str__(self) -> str:
        if self.requests_file is not None:
            return f"requests of {self.requests_file.name}"
        return f"{self.prompt_tokens} random tokens in, {self.answer_tokens} out"


@dataclass(frozen=True, slots=True)
class Result:
    """A measurement, and when each request was sent on the clock `time.perf_counter`."""

    measurement: Measurement
    starts_s: list[float]


OnProgress = Callable[[int, int], None]
"""Called with the requests that have ended, and with those of them that failed."""


class LoadGenerator:
    """Sends loads to one endpoint. Use it as an asynchronous context manager.

    Args:
        environ: The user's environment; of its keys the process gets only that of the target.
        target: The endpoint.
        workload: What is asked.

    Attributes:
        sent: Requests of all loads so far.
    """

    def __init__(self, environ: Mapping[str, str], target: Target, workload: Workload) -> None:
        hidden = {KEY_VARIABLE, CLIENT_KEY}
        self._environ = {name: value for name, value in environ.items() if name not in hidden}
        if target.key:
            self._environ[CLIENT_KEY] = target.key
        self._target = target
        self._workload = workload
        self.sent = 0
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # until __aexit__
        read_end, write_end = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(*COMMAND, str(write_end)),
                stdin=asyncio.subprocess.PIPE,
                stdout=self._log,
                stderr=self._log,
                env=self._environ,
                pass_fds=(write_end,),
                start_new_session=True,  # Ctrl-C reaches this command only
                preexec_fn=functools.partial(die_with_parent, os.getpid()),
            )
        finally:
            os.close(write_end)
        self._reports = asyncio.StreamReader(LINE_BYTES)
        protocol = asyncio.StreamReaderProtocol(self._reports)
        self._pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: protocol, os.fdopen(read_end, "rb", buffering=0)
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._running()
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        self._pipe.close()
        self._log.close()

    async def run(self, load: Load, progress: OnProgress) -> Result:
        """Run one load.

        Raises:
            LoadError: vLLM's client could not run it, e.g. without the tokenizer.
            UnavailableError: vLLM is not installed, or its client ended.
        """
        process = self._running()
        message = {
            **load.model_dump(),
            **asdict(self._workload),
            "base_url": self._target.base_url,
            # Other prompts than in any earlier load: the prefix cache would answer them.
            "seed": self.sent,
            "first": self.sent,
        }
        self.sent += load.requests
        if process.stdin is None:
            raise RuntimeError("the process has no input")
        with suppress(ConnectionError):
            process.stdin.write(orjson.dumps(message, default=str) + b"\n")
            await process.stdin.drain()
        while line := await self._reports.readline():
            report: dict[str, Any] = orjson.loads(line)
            if "error" in report:
                raise self._explain(report["error"])
            if "result" in report:
                found = report["result"]
                measured = Measurement.from_client(load, found)
                return Result(measured, found["start_times"])
            progress(report["done"], report["failed"])
        raise UnavailableError(self._explain_end())

    def _explain(self, reason: str) -> WorkerError:
        if "No module named 'vllm'" in reason:
            return UnavailableError(NO_VLLM)
        advice = (
            ""
            if self._workload.tokenizer is None
            else (
                f"; if the tokenizer {self._workload.tokenizer} cannot be loaded here, name "
                "another by --tokenizer, or give own requests by --requests-file, which need none"
            )
        )
        return LoadError(f"vLLM's client failed: {reason}{advice}")

    def _explain_end(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f"vLLM's client ended: {lines[-1] if lines else 'it wrote nothing'}"

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("the load generator was not started")
        return self._process
