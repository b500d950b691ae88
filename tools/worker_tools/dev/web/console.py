"""The console of one deployment: its state, its jobs and its engine, for the page at `/`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

from worker.errors import ConfigurationError
from worker_tools.dev.deployment import LocalDeployment
from worker_tools.dev.endpoint import BASE
from worker_tools.dev.job import Job
from worker_tools.dev.reply import ApiError
from worker_tools.dev.web import static_files
from worker_tools.dev.web.api import Api
from worker_tools.dev.web.engine import INTERVAL_S, EngineMonitor
from worker_tools.dev.web.feed import Feed
from worker_tools.dev.web.history import MOST_JOBS, JobHistory
from worker_tools.dev.web.job_view import summarize
from worker_tools.dev.web.output_log import OutputLog

TICK_S = 0.5
"""Seconds between two comparisons of the state, while a page is open."""

SAMPLE_TICKS = round(INTERVAL_S / TICK_S)


def find_model(environ: Mapping[str, str]) -> str | None:
    """Return the name under which the model is served; None if the settings are wrong."""
    from worker.settings.load import load_settings

    try:
        return load_settings(environ).model.served_name
    except ConfigurationError:
        return None


class Console:
    """Watches a deployment that has not started, and adds the page to its endpoint.

    Args:
        deployment: The deployment; its output has to go to `log`.
        log: What the workers print.

    Attributes:
        log: The same.
        feed: The open pages.
        history: The last jobs.
        engine: The engines' metrics.
    """

    def __init__(self, deployment: LocalDeployment, log: OutputLog) -> None:
        self.log = log
        self.feed = Feed(self._summarize)
        self.history = JobHistory(self.feed.mark_job)
        self.engine = EngineMonitor(
            self._worker_pids, lambda sample: self.feed.publish("sample", sample)
        )
        self.deployment = deployment
        self._boot = uuid.uuid4().hex
        self._tasks: set[asyncio.Task[None]] = set()
        endpoint = deployment.endpoint
        endpoint.store.on_change = self._record
        endpoint.routes += [*static_files.routes(), *Api(self).routes()]

    async def __aenter__(self) -> None:
        """Watch the deployment while a page is open."""
        self._start(self._watch())

    async def __aexit__(self, *_error: object) -> None:
        """Stop watching; cancel a running restart."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.engine.forget()

    def state(self) -> dict[str, Any]:
        """Return the content of the page header."""
        deployment = self.deployment
        records = deployment.endpoint.store.workers
        workers = []
        for process in deployment.processes:
            record = records.get(process.worker_id)
            code = process.returncode if process.started else None
            ready = record.ready.is_set() and code is None
            workers.append({"id": process.worker_id, "ready": ready, "code": code})
        return {
            "boot": self._boot,
            "state": self._name_state(workers),
            "workers": workers,
            "began": round(self.log.began_ms),
            "phases": len(self.log.phases),
            "reported": self.log.report is not None,
        }

    async def about(self) -> dict[str, Any]:
        """Return the data that only a restart changes."""
        endpoint = self.deployment.endpoint
        return {
            "model": await asyncio.to_thread(find_model, self.deployment.environ),
            "version": static_files.worker_version(),
            "base": BASE,
            "url": endpoint.url,
            "openai_url": endpoint.openai_url,
            "state": self.state(),
        }

    def restart(self, environ: Mapping[str, str]) -> None:
        """Replace the workers in the background.

        Args:
            environ: Their environment; it was checked.

        Raises:
            ApiError: 409, a restart is under way.
        """
        if self.deployment.restarting:
            raise ApiError(409, "the workers are being restarted already; wait for it")
        self._start(self._restart(environ))

    async def _restart(self, environ: Mapping[str, str]) -> None:
        await self.engine.forget()
        await self.deployment.restart(environ, on_ended=self.log.begin_start)
        # A page may have asked the old engine meanwhile.
        await self.engine.forget()

    def _name_state(self, workers: list[dict[str, Any]]) -> str:
        if self.deployment.restarting:
            return "restarting"
        if any(worker["code"] is not None for worker in workers):
            return "failed"
        return "ready" if all(worker["ready"] for worker in workers) else "starting"

    def _summarize(self, job_ids: set[str]) -> list[Any]:
        found = [entry for job_id in job_ids if (entry := self.history.get(job_id))]
        found.sort(key=lambda entry: -entry.number)
        return [summarize(entry) for entry in found[:MOST_JOBS]]

    def _record(self, job: Job) -> None:
        self.history.record(job)

    def _worker_pids(self) -> list[int]:
        return [
            process.pid
            for process in self.deployment.processes
            if process.started and process.returncode is None
        ]

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self) -> None:
        """Publish changes of the state and samples of the engine, while a page is open."""
        shown: dict[str, Any] = {}
        lines = ticks = 0
        while True:
            await self.feed.opened.wait()
            state = self.state()
            if state != shown:
                shown = state
                self.feed.publish("state", state)
            if self.log.count != lines:
                lines = self.log.count
                self.feed.publish("log", lines)
            if ticks % SAMPLE_TICKS == 0 and state["state"] == "ready":
                await self.engine.sample()
            ticks += 1
            await asyncio.sleep(TICK_S)
