"""The last jobs, also those that the endpoint has deleted; bounded in number and bytes."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from worker_tools.dev.job import Job
from worker_tools.dev.web.usage import Usage, find_usage

MOST_JOBS = 2000
MOST_BYTES = 64 * 1024 * 1024
"""Requests, chunks and results of the ended jobs, as they came over HTTP."""


@dataclass(slots=True)
class Entry:
    """One job of the history.

    Attributes:
        number: Counts the jobs from 1; a cursor.
        job: The job.
        submitted_ms: When it was submitted, milliseconds since 1970.
        posts: How many of its posts `posted_bytes` includes.
        posted_bytes: Bytes of these posts.
        counted_bytes: What it adds to the size of the history; 0 until it ends.
        usage: Token counts of its result, once it has ended.
    """

    number: int
    job: Job
    submitted_ms: float
    posts: int = 0
    posted_bytes: int = 0
    counted_bytes: int = 0
    usage: Usage | None = None

    def count_posts(self) -> None:
        """Add the posts that have arrived since the last call."""
        posts = self.job.metrics.posts
        self.posted_bytes += sum(post.size_bytes for post in posts[self.posts :])
        self.posts = len(posts)


class JobHistory:
    """The last jobs in the order of their submission.

    Args:
        on_change: Called with the id of each job that has changed.
        most_jobs: How many ended jobs are kept.
        most_bytes: How large they may be together.
    """

    def __init__(
        self,
        on_change: Callable[[str], None],
        *,
        most_jobs: int = MOST_JOBS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._on_change = on_change
        self._most_jobs = most_jobs
        self._most_bytes = most_bytes
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._bytes = 0
        self._count = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, job_id: str) -> Entry | None:
        """Return a job's entry; None if it is not kept."""
        return self._entries.get(job_id)

    def record(self, job: Job) -> None:
        """Note a change of a job, its submission included."""
        entry = self._entries.get(job.id)
        if entry is None:
            if job.final:
                return  # It was dropped already.
            self._count += 1
            entry = self._entries[job.id] = Entry(self._count, job, time.time() * 1000)
        if job.final:
            self._end(entry)
        elif entry.counted_bytes:  # It was queued again.
            self._bytes -= entry.counted_bytes
            entry.counted_bytes, entry.usage = 0, None
        self._on_change(job.id)

    def page(self, before: int | None, count: int) -> list[Entry]:
        """Return up to `count` entries, the newest first, of those before a cursor."""
        found: list[Entry] = []
        for entry in reversed(self._entries.values()):
            if len(found) == count:
                break
            if before is None or entry.number < before:
                found.append(entry)
        return found

    def _end(self, entry: Entry) -> None:
        entry.count_posts()
        entry.usage = find_usage(entry.job)
        size = max(1, entry.job.request.size_bytes + entry.posted_bytes)
        self._bytes += size - entry.counted_bytes
        entry.counted_bytes = size
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        """Drop the oldest ended jobs until the rest is within the bounds; one job always stays."""
        while len(self._entries) > 1 and (
            len(self._entries) > self._most_jobs or self._bytes > self._most_bytes
        ):
            oldest = next((e for e in self._entries.values() if e.counted_bytes), None)
            if oldest is None:
                return
            del self._entries[oldest.job.id]
            self._bytes -= oldest.counted_bytes
