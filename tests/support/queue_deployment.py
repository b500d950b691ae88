"""A worker of its own process, with the real SDK and loop, under the real local endpoint."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from worker_tools.dev import Limits, LocalDeployment, LocalEndpoint
from worker_tools.dev.job import Job, JobRequest, JobStatus

WORKER = Path(__file__).parents[1] / "queue/queue_worker.py"
ENVIRON = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
PLACES = 8
"""As in `queue_worker.py`."""

LONG_S = 60
"""A job that no test waits for."""

LIMITS = Limits(take_hold_s=1, stop_hold_s=0.5)


class Queue:
    """A worker under an endpoint, as its clients see both."""

    def __init__(self, deployment: LocalDeployment, lines: list[str]) -> None:
        self.deployment = deployment
        self.endpoint = deployment.endpoint
        self.lines = lines

    @property
    def process(self):
        return self.deployment.processes[0]

    def submit(self, **job_input) -> Job:
        return self.submit_input(job_input)

    def submit_input(self, job_input) -> Job:
        request = JobRequest(
            job_input, sync=False, execution_timeout_ms=60_000, ttl_ms=60_000, retention_s=60
        )
        return self.endpoint.store.submit(request)

    async def run(self, **job_input) -> Job:
        job = self.submit(**job_input)
        assert await job.finished(15), job.status
        return job

    async def wait_for(self, condition) -> None:
        async with asyncio.timeout(15):
            while not condition():
                await asyncio.sleep(0.01)

    async def wait_for_line(self, line: str) -> None:
        await self.wait_for(lambda: line in self.lines)

    async def wait_running(self, *jobs: Job) -> None:
        await self.wait_for(lambda: all(job.status is JobStatus.IN_PROGRESS for job in jobs))


@asynccontextmanager
async def deploy(*options: str) -> AsyncIterator[Queue]:
    lines: list[str] = []
    endpoint = LocalEndpoint(limits=LIMITS)
    deployment = LocalDeployment(
        environ=ENVIRON, endpoint=endpoint, on_output=lambda _worker, line: lines.append(line)
    )
    deployment.command = (sys.executable, str(WORKER), *options)
    async with deployment:
        await deployment.wait_ready()
        yield Queue(deployment, lines)


def error_of(job: Job) -> dict:
    return json.loads(job.error)["error"]
