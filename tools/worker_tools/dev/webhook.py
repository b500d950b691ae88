"""Delivery of results to a job's webhook, on this machine only."""

from __future__ import annotations

import asyncio
import logging
from urllib.parse import urlsplit

import aiohttp
import orjson

from worker_tools.dev.job import Job
from worker_tools.dev.limits import Limits

ATTEMPTS = 3
"""The first delivery and the platform's two retries."""
TIMEOUT_S = 10.0
"""Seconds that one delivery may take."""

log = logging.getLogger(__name__)


class Webhooks:
    """Posts finished jobs in the background."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._tasks: set[asyncio.Task[None]] = set()

    def notify(self, job: Job) -> None:
        """Deliver a finished job's result if it has a webhook; returns at once."""
        url = job.request.webhook
        if url is None:
            return
        if urlsplit(url).hostname not in self._limits.webhook_hosts:
            job.metrics.webhook = "refused"
            log.warning("webhook of job %s not called: it is not on this machine", job.id)
            return
        task = asyncio.create_task(self._deliver(job, url))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel all running deliveries."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _deliver(self, job: Job, url: str) -> None:
        body = orjson.dumps(job.payload())
        headers = {"Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            for attempt in range(ATTEMPTS):
                if attempt:
                    await asyncio.sleep(self._limits.webhook_retry_s)
                try:
                    async with session.post(url, data=body) as response:
                        if response.ok:
                            job.metrics.webhook = "delivered"
                            return
                        problem = f"status {response.status}"
                except (aiohttp.ClientError, TimeoutError) as error:
                    problem = str(error) or type(error).__name__
        job.metrics.webhook = "failed"
        log.warning("webhook of job %s failed %d times: %s", job.id, ATTEMPTS, problem)
