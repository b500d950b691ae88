"""The JSON API of the page, below /console/api.

Settings, schemas and templates are imported when a page first needs them, for a faster start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from worker_tools.dev.reply import ApiError, parse_object, read_body, reply_json
from worker_tools.dev.web.engine import SERIES
from worker_tools.dev.web.feed import HEADERS, encode_event
from worker_tools.dev.web.history import Entry
from worker_tools.dev.web.job_view import describe, find_error, summarize
from worker_tools.dev.web.request_fields import build_forms

if TYPE_CHECKING:
    from worker_tools.dev.web.console import Console

BASE = "/console/api"
MOST_BODY_BYTES = 20 * 1024 * 1024
PAGE_JOBS = 200
"""Jobs in one answer of the list."""

Answer = Callable[[web.Request], Awaitable[Any]]


class Api:
    """Routes of the page."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def routes(self) -> list[web.RouteDef]:
        """Return all routes."""
        job = f"{BASE}/jobs/{{job:.+}}"
        return [
            web.get(f"{BASE}/about", _as_json(self._about)),
            web.get(f"{BASE}/events", self._events),
            web.get(f"{BASE}/jobs", _as_json(self._jobs)),
            web.get(f"{BASE}/stream/{{job:.+}}", self._stream),
            web.get(job, _as_json(self._job)),
            web.get(f"{BASE}/forms", _as_json(self._forms)),
            web.get(f"{BASE}/abilities", _as_json(self._abilities)),
            web.post(f"{BASE}/snippets", _as_json(self._snippets)),
            web.get(f"{BASE}/configuration", _as_json(self._configuration)),
            web.post(f"{BASE}/configuration/check", _as_json(self._check)),
            web.post(f"{BASE}/configuration/restart", _as_json(self._restart)),
            web.get(f"{BASE}/start", _as_json(self._start)),
            web.get(f"{BASE}/fit", _as_json(self._fit)),
            web.get(f"{BASE}/log", _as_json(self._log)),
            web.get(f"{BASE}/metrics", _as_json(self._metrics)),
        ]

    async def _about(self, _request: web.Request) -> Any:
        return await self._console.about()

    async def _events(self, request: web.Request) -> web.StreamResponse:
        return await self._console.feed.serve(request, ("state", self._console.state()))

    async def _jobs(self, request: web.Request) -> Any:
        before = read_number(request, "before", None)
        entries = self._console.history.page(before, PAGE_JOBS)
        more = len(entries) == PAGE_JOBS and entries[-1].number > 1
        return {
            "jobs": [summarize(entry) for entry in entries],
            "next": entries[-1].number if more else None,
        }

    async def _job(self, request: web.Request) -> Any:
        entry = self._find(request)
        is_kept = entry.job.id in self._console.deployment.endpoint.jobs
        return describe(entry, self._console.log.of_job(entry.job.id), is_kept=is_kept)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Send the chunks of a job as events; a page that connects again gets the rest."""
        entry = self._find(request)
        job = entry.job
        last = request.headers.get("Last-Event-ID", "")
        sent = int(last) if last.isdecimal() and len(last) < 10 else 0
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        attempt = job.attempt
        try:
            while True:
                if job.attempt > max(attempt, 1):
                    attempt, sent = job.attempt, 0
                    await response.write(encode_event("again", attempt))
                chunks = job.chunks[sent:]
                events = [
                    encode_event("chunk", chunk, sent + number)
                    for number, chunk in enumerate(chunks, start=1)
                ]
                sent += len(chunks)
                if events:
                    await response.write(b"".join(events))
                elif job.final:
                    break
                else:
                    await job.changed()
            end = {**summarize(entry), "output": job.output, "error": find_error(job) or None}
            if job.chunks:
                end["output"] = None  # The page has it in chunks.
            await response.write(encode_event("end", end))
        except ConnectionError:
            pass
        return response

    async def _forms(self, _request: web.Request) -> Any:
        return build_forms()

    async def _abilities(self, _request: web.Request) -> Any:
        return await self._console.engine.find_abilities()

    async def _snippets(self, request: web.Request) -> Any:
        from worker_tools.dev.web.snippets import write_snippets

        body = await _read(request)
        url = self._console.deployment.endpoint.url
        return write_snippets(body.get("input"), url, on_runpod=body.get("runpod") is True)

    async def _configuration(self, _request: web.Request) -> Any:
        from worker_tools.dev.web import configuration

        environ = self._console.deployment.environ
        form, found = await asyncio.gather(
            asyncio.to_thread(configuration.describe_form, environ),
            asyncio.to_thread(configuration.check, environ),
        )
        return {**found, "form": form}

    async def _check(self, request: web.Request) -> Any:
        _, found = await self._apply(request)
        return found

    async def _restart(self, request: web.Request) -> Any:
        environ, found = await self._apply(request)
        if not found["ok"]:
            return {"restarted": False, "problems": found["problems"]}
        self._console.restart(environ)
        return {"restarted": True, "problems": []}

    async def _apply(self, request: web.Request) -> tuple[dict[str, str], dict[str, Any]]:
        """Return the environment with the changes of a request, and the result of its check."""
        from worker_tools.dev.web import configuration

        changes = configuration.parse_changes(await _read(request))
        environ = configuration.apply_changes(self._console.deployment.environ, changes)
        return environ, await asyncio.to_thread(configuration.check, environ)

    async def _start(self, _request: web.Request) -> Any:
        log = self._console.log
        return {"phases": log.phases, "report": log.report, **self._console.state()}

    async def _fit(self, _request: web.Request) -> Any:
        from worker_tools.dev.web.fit import describe_fit

        return await asyncio.to_thread(describe_fit, self._console.deployment.environ)

    async def _log(self, request: web.Request) -> Any:
        return {"lines": self._console.log.after(read_number(request, "after", 0) or 0)}

    async def _metrics(self, _request: web.Request) -> Any:
        return {"series": SERIES, "samples": list(self._console.engine.samples)}

    def _find(self, request: web.Request) -> Entry:
        job_id = request.match_info["job"]
        entry = self._console.history.get(job_id)
        if entry is None:
            raise ApiError(404, f"job {job_id[:200]} is not in the history of this page")
        return entry


def read_number(request: web.Request, name: str, default: int | None) -> int | None:
    """Read a whole number of the query string.

    Raises:
        ApiError: 400, it is not a number.
    """
    text = request.query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > 15:
        raise ApiError(400, f"{name} has to be a whole number")
    return int(text)


async def _read(request: web.Request) -> dict[str, Any]:
    return parse_object(await read_body(request, MOST_BODY_BYTES))


def _as_json(answer: Answer) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def serve(request: web.Request) -> web.Response:
        response = reply_json(await answer(request))
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return serve
