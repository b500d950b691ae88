"""The compared systems. Each one is started once, and stopped with all of its processes."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson

from benchmarks.load import Burst, Stream, build_input, build_prompts
from worker.engine.environment import build_environment
from worker.engine.parent_death import die_with_parent
from worker.settings import load_settings
from worker_tools.dev import LocalDeployment, LocalEndpoint
from worker_tools.dev.job import Job, JobRequest, JobStatus

START_TIMEOUT_S = 300
"""worker-vllm imports vLLM three times on a machine without GPU."""

STOP_S = 20.0

TAIL_LINES = 120
"""Lines of a system's output that explain why it ended. vLLM prints the cause before the tracebacks
of the processes that waited for the failed one."""

REPORT_LIMIT_BYTES = 2**26

JOB_TIMEOUT_MS = 600_000


class HasPid(Protocol):
    """A system with processes of its own."""

    @property
    def pid(self) -> int:
        """The root of the system's processes."""
        ...


class System(Protocol):
    """A system that answers bursts of requests.

    Attributes:
        name: As tables call it.
    """

    name: str

    @property
    def pid(self) -> int:
        """The root of the system's processes."""
        ...

    async def start(self) -> None:
        """Start the system and return when it is ready."""
        ...

    async def run(self, burst: Burst) -> list[Stream]:
        """Answer all requests of one burst concurrently."""
        ...

    async def stop(self) -> None:
        """Stop the system."""
        ...


class EndedError(Exception):
    """A system did not start, or has ended; the message has the last lines of its output.

    Args:
        what: What happened.
        log: What it printed.
    """

    def __init__(self, what: str, log: Path) -> None:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        super().__init__("\n".join([f"{what}; its last lines:", *lines[-TAIL_LINES:]]))


class EngineAlone:
    """vLLM's AsyncLLM in a separate process, without a transport.

    Args:
        environ: Environment with the worker's settings, which are resolved as the worker does.
        log: File for what it prints.
    """

    name = "engine"

    def __init__(self, environ: Mapping[str, str], log: Path) -> None:
        settings = load_settings(environ)
        self._arguments = settings.engine_arguments()
        self._environ = build_environment(environ, settings.engine_environment())
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._reports = asyncio.StreamReader(limit=REPORT_LIMIT_BYTES)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._started().pid

    async def start(self) -> None:
        """Start the engine and wait until it is ready."""
        read_end, write_end = os.pipe()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self._reports), os.fdopen(read_end, "rb", 0)
        )
        try:
            with self._log.open("wb") as output:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "benchmarks.engine_alone", str(write_end)),
                    *self._arguments,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    env=self._environ,
                    pass_fds=[write_end],
                    preexec_fn=die_with_parent,
                )
        finally:
            os.close(write_end)
        if not await asyncio.wait_for(self._reports.readline(), START_TIMEOUT_S):
            raise EndedError("the engine ended", self._log)

    async def run(self, burst: Burst) -> list[Stream]:
        """Generate for all prompts of the burst concurrently."""
        process = self._started()
        if process.stdin is None:
            raise RuntimeError("the engine has no stdin")
        command = {
            "prompts": build_prompts(burst),
            "max_tokens": burst.tokens,
            "stream": burst.stream,
        }
        process.stdin.write(orjson.dumps(command) + b"\n")
        line = await self._reports.readline()
        if not line:
            raise EndedError("the engine ended", self._log)
        return [
            Stream(
                submitted_s=found["submitted_s"],
                chunks_s=tuple(found["chunks_s"]) if burst.stream else (),
                finished_s=found["chunks_s"][-1],
                tokens=found["tokens"],
            )
            for found in orjson.loads(line)["streams"]
        ]

    async def stop(self) -> None:
        """Close its stdin; kill it if that does not end it."""
        if self._process is None or self._process.returncode is not None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), STOP_S)
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def _started(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("the engine was not started")
        return self._process


@dataclass(frozen=True, slots=True)
class Program:
    """Command and environment of a worker.

    Attributes:
        name: As tables call it.
        command: Command line.
        environ: Whole environment but the platform's part.
    """

    name: str
    command: Sequence[str]
    environ: Mapping[str, str]


class Deployed:
    """A worker under a local endpoint in this process.

    Args:
        program: The worker.
        log: File for what it prints.
    """

    def __init__(self, program: Program, log: Path) -> None:
        self.name = program.name
        self.endpoint = LocalEndpoint()
        self._log = log
        self._output = log.open("w", encoding="utf-8")
        self._deployment = LocalDeployment(
            environ=program.environ,
            endpoint=self.endpoint,
            on_output=lambda _worker, line: print(line, file=self._output, flush=True),
        )
        self._deployment.command = program.command

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._deployment.processes[0].pid

    async def start(self) -> None:
        """Start endpoint and worker and wait for its first request for a job."""
        await self._deployment.__aenter__()
        try:
            await asyncio.wait_for(self._deployment.wait_ready(), START_TIMEOUT_S)
        except Exception as error:
            raise EndedError(f"{self.name} did not start: {error}", self._log) from error

    async def run(self, burst: Burst) -> list[Stream]:
        """Queue the burst's jobs at once and wait for their results."""
        self.endpoint.rtt_ms = burst.rtt_ms
        jobs = [self.submit(build_input(burst, prompt)) for prompt in build_prompts(burst)]
        try:
            await asyncio.gather(*(job.finished() for job in jobs))
            return [read_stream(job, burst) for job in jobs]
        finally:
            for job in jobs:
                self.forget(job)

    def submit(self, job_input: Any) -> Job:
        """Queue one job."""
        return self.endpoint.store.submit(
            JobRequest(
                input=job_input,
                sync=False,
                execution_timeout_ms=JOB_TIMEOUT_MS,
                ttl_ms=JOB_TIMEOUT_MS,
                retention_s=JOB_TIMEOUT_MS / 1000,
            )
        )

    def forget(self, job: Job) -> None:
        """Delete a job, to keep bursts independent of each other."""
        self.endpoint.store.cancel(job)
        job.clear_timer()
        self.endpoint.jobs.pop(job.id, None)

    async def stop(self) -> None:
        """End the worker and the endpoint."""
        await self._deployment.stop(STOP_S)
        self._output.close()


class JobError(Exception):
    """A job failed or returned an incomplete answer."""


def read_stream(job: Job, burst: Burst) -> Stream:
    """Return the measurements of a finished job.

    Raises:
        JobError: It failed, or has not the number of tokens that was asked for.
    """
    if job.status is not JobStatus.COMPLETED:
        raise JobError(f"job {job.status}: {str(job.error)[:300]}")
    tokens = count_tokens(job, stream=burst.stream)
    if tokens != burst.tokens:
        raise JobError(f"a job has {tokens} tokens, not {burst.tokens}")
    metrics = job.metrics
    posts = [post for post in metrics.posts if post.operation == "stream"]
    return Stream(
        submitted_s=metrics.submitted_s,
        chunks_s=tuple(post.at_s for post in posts) if burst.stream else (),
        finished_s=metrics.finished_s or time.monotonic(),
        tokens=tokens,
        posts=len(metrics.posts),
        size_bytes=sum(post.size_bytes for post in metrics.posts),
    )


def count_tokens(job: Job, *, stream: bool) -> int:
    """Return the number of tokens in the `usage` of the job's output."""
    if stream:
        text = "".join(job.chunks)
        events = [event for event in text.split("\n\n") if '"usage":{' in event]
        usage = orjson.loads(events[-1].removeprefix("data: "))["usage"] if events else {}
    else:
        output = job.output
        usage = (output[0] if isinstance(output, list) else output)["usage"]
    return int(usage.get("completion_tokens", 0))
