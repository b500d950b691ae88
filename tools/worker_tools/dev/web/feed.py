"""Changes for the open pages, as server-sent events; nothing is kept while no page is open."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from worker_tools.dev.reply import ApiError

MOST_PAGES = 20
"""Pages that may listen at once."""

FEW_JOBS = 50
SHORT_PAUSE_S, LONG_PAUSE_S = 0.25, 1.0
"""Pause between two events: few changed jobs are shown sooner than many."""

KEEP_ALIVE_S = 15.0
MOST_PENDING = 500
"""Events that wait for a slow page; older ones are dropped."""

RETRY_MS = 1000
"""After this time a page connects again."""

HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}


def encode_event(name: str, data: Any, event_id: int | None = None) -> bytes:
    """Return one server-sent event; JSON has no line ends."""
    head = f"event: {name}\n" if event_id is None else f"id: {event_id}\nevent: {name}\n"
    body = orjson.dumps(data, default=str, option=orjson.OPT_NON_STR_KEYS)
    return head.encode() + b"data: " + body + b"\n\n"


class Listener:
    """What one page has not been sent yet."""

    def __init__(self) -> None:
        self.jobs: set[str] = set()
        self.events: deque[tuple[str, Any]] = deque(maxlen=MOST_PENDING)
        self.wake = asyncio.Event()


class Feed:
    """All open pages.

    Args:
        summarize: Returns the summaries of the named jobs.
    """

    def __init__(self, summarize: Callable[[set[str]], list[Any]]) -> None:
        self._summarize = summarize
        self._listeners: set[Listener] = set()
        self.opened = asyncio.Event()
        """Set while a page is open."""

    def mark_job(self, job_id: str) -> None:
        """Note that a job has changed."""
        for listener in self._listeners:
            listener.jobs.add(job_id)
            listener.wake.set()

    def publish(self, name: str, data: Any) -> None:
        """Send an event to each page."""
        for listener in self._listeners:
            listener.events.append((name, data))
            listener.wake.set()

    async def serve(self, request: web.Request, first: tuple[str, Any]) -> web.StreamResponse:
        """Answer a page with events until it is closed.

        Args:
            request: The page's request.
            first: The first event.

        Raises:
            ApiError: 503, too many pages are open.
        """
        if len(self._listeners) >= MOST_PAGES:
            raise ApiError(503, f"{MOST_PAGES} pages are open already; close one")
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        await response.write(f"retry: {RETRY_MS}\n\n".encode() + encode_event(*first))
        listener = Listener()
        self._listeners.add(listener)
        self.opened.set()
        try:
            while True:
                await self._send(response, listener)
        except ConnectionError:
            return response
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                self.opened.clear()

    async def _send(self, response: web.StreamResponse, listener: Listener) -> None:
        try:
            async with asyncio.timeout(KEEP_ALIVE_S):
                await listener.wake.wait()
        except TimeoutError:
            await response.write(b": still here\n\n")
            return
        await asyncio.sleep(SHORT_PAUSE_S if len(listener.jobs) <= FEW_JOBS else LONG_PAUSE_S)
        listener.wake.clear()
        events = [encode_event(name, data) for name, data in listener.events]
        listener.events.clear()
        if listener.jobs:
            events.append(encode_event("jobs", self._summarize(listener.jobs)))
            listener.jobs.clear()
        await response.write(b"".join(events))
