"""Submits the batches of a file, follows them, and collects their results.

Every step starts from what RunPod reports about the batch, not from what the last step meant to do.
A draft is never processed, and it becomes final only when RunPod counts exactly its requests.
Nothing is therefore sent twice, whenever the command is killed or a reply is lost.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from worker.errors import UnavailableError
from worker_tools.batch.api import BatchClient, LimitError, RejectedError, Summary, UnansweredError
from worker_tools.batch.input_file import InputFile
from worker_tools.batch.plan import build_call, split_calls
from worker_tools.batch.state import Part, Progress, StateFolder

MOST_ACTIVE = 10
"""Batches of one endpoint that RunPod processes at the same time."""

FIRST_POLL_S = 0.5
MAX_POLL_S = 15.0
"""Waits between two polls of the batches; each is 50 % longer than the previous one."""

SETTLE_S = 2.0
"""Wait after a lost reply: the call may still be under way."""

LOST_REPLIES = 10
"""Replies of one batch's submission that may be lost."""

WAIT_FOR_OTHERS_S = 3600.0
"""How long other batches of the endpoint may leave no room for ours."""

STALL_S = 300.0
"""Time without any change after which the list of requests decides whether a batch is over."""

UNFINISHED = ("IN_QUEUE", "IN_PROGRESS", "RUNNING")

INCOMPLETE_LISTS = 5
"""How often the list of a batch that is over may lack requests or results, before it is taken."""


@dataclass(frozen=True, slots=True)
class Observer:
    """Callbacks of a run.

    Attributes:
        count: Called with ended and failed requests of the whole file, when they change.
        note: Called with a sentence for the user.
    """

    count: Callable[[int, int], None]
    note: Callable[[str], None]


class BatchRun:
    """All batches of one file.

    Args:
        client: The endpoint.
        source: The file.
        progress: What is done; updated and saved with every step.
        folder: Where the progress is saved.
        observer: What to call on the way.
        call_bytes: Largest body of one call.
    """

    def __init__(
        self,
        client: BatchClient,
        source: InputFile,
        progress: Progress,
        folder: StateFolder,
        observer: Observer,
        call_bytes: int,
    ) -> None:
        self._client = client
        self._source = source
        self._progress = progress
        self._folder = folder
        self._call_bytes = call_bytes
        self._observer = observer
        self._summaries: dict[str, Summary] = {}
        self._changed_s: dict[str, float] = {}
        self._incomplete: Counter[str] = Counter()

    async def run(self) -> None:
        """Return when the results of all batches are on disk."""
        clock = asyncio.get_running_loop().time
        wait_s, blocked_since = FIRST_POLL_S, clock()
        while True:
            limit = await self._submit_next()
            for part in self._running():
                await self._follow(part)
            if all(part.collected for part in self._progress.parts):
                return
            if limit is None or self._running():
                blocked_since = clock()
            elif clock() - blocked_since > WAIT_FOR_OTHERS_S:
                raise UnavailableError(f"{limit}; run the same command again to resume")
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 1.5, MAX_POLL_S)

    async def cancel(self) -> None:
        """Cancel requests that have not started; collect finished ones."""
        for part in self._progress.parts:
            if part.batch_id is not None and not part.collected:
                if not (await self._client.get(part.batch_id)).is_over:
                    await self._client.cancel(part.batch_id)
                part.submitted = True
        self._save()
        self._progress.parts = [p for p in self._progress.parts if p.batch_id is not None]
        while self._running():
            for part in self._running():
                await self._follow(part)
            await asyncio.sleep(FIRST_POLL_S)

    def _running(self) -> list[Part]:
        return [part for part in self._progress.parts if part.submitted and not part.collected]

    async def _submit_next(self) -> LimitError | None:
        """Submit batches in order; return the limit that stops it, if one does."""
        for part in self._progress.parts:
            if part.submitted:
                continue
            if len(self._running()) >= MOST_ACTIVE:
                return None
            try:
                await self._submit(part)
            except LimitError as error:
                return error
        return None

    async def _submit(self, part: Part) -> None:
        lost = 0
        while not part.submitted:
            try:
                await self._advance(part)
            except UnansweredError as error:
                lost += 1
                if lost >= LOST_REPLIES:
                    raise UnavailableError(
                        f"{error}; run the same command again to resume"
                    ) from None
                await asyncio.sleep(SETTLE_S)

    async def _advance(self, part: Part) -> None:
        """Take the next step of a batch's submission."""
        if part.batch_id is None:
            part.batch_id = await self._client.create()
            self._save()
            return
        summary = await self._client.get(part.batch_id)
        if summary.status != "DRAFT":
            await self._confirm(part, summary)
            return
        if summary.total == part.count:
            await self._client.finalize(part.batch_id)
            return
        body = self._next_call(part, summary.total)
        if body is None:
            # The draft holds a part of a call, or more than it should: an append took effect that
            # was counted too late. It has cost nothing; another draft takes its place.
            await self._client.cancel(part.batch_id)
            part.batch_id = None
            self._save()
            return
        await self._client.append(part.batch_id, body)

    async def _confirm(self, part: Part, summary: Summary) -> None:
        if summary.status == "FINALIZED" and summary.total != part.count:
            await self._client.cancel(summary.id)
            raise RejectedError(
                f"batch {summary.id} has {summary.total} requests and not {part.count}; it was "
                "cancelled. Another program has changed it"
            )
        part.submitted = True
        self._save()

    def _next_call(self, part: Part, sent: int) -> bytes | None:
        """Return the call after the first `sent` requests; None if no call starts there."""
        lines = self._source.lines[part.first : part.first + part.count]
        for first, count in split_calls(lines, self._call_bytes):
            if first == sent:
                return build_call(self._source.read(lines[first : first + count]))
        return None

    async def _follow(self, part: Part) -> None:
        batch_id = part.batch_id
        if batch_id is None:
            return
        now = asyncio.get_running_loop().time()
        summary = await self._client.get(batch_id)
        if summary != self._summaries.get(batch_id):
            self._summaries[batch_id] = summary
            self._changed_s[batch_id] = now
            self._report_counts()
        stalled = not summary.in_progress and now - self._changed_s[batch_id] > STALL_S
        if not summary.is_over and not stalled:
            return
        results = {str(item.get("id")): item async for item in self._client.results(batch_id)}
        listed = len(results) >= summary.total
        ended = not any(item.get("status") in UNFINISHED for item in results.values())
        if listed and (ended or summary.status == "CANCELLED"):
            self._collect(part, summary, results)
        elif summary.is_over:
            self._incomplete[batch_id] += 1
            if self._incomplete[batch_id] >= INCOMPLETE_LISTS:
                self._observer.note(
                    f"RunPod lists {len(results)} of the requests of batch {batch_id}"
                )
                self._collect(part, summary, results)

    def _collect(self, part: Part, summary: Summary, results: dict[str, dict[str, Any]]) -> None:
        self._folder.save_results(part, results.values())
        part.collected, part.status = True, summary.status
        self._save()
        if summary.status != "FINALIZED":
            self._observer.note(f"batch {summary.id} is {summary.status}")

    def _report_counts(self) -> None:
        ended = sum(summary.ended for summary in self._summaries.values())
        failed = sum(summary.failed for summary in self._summaries.values())
        known = self._summaries.keys()
        ended += sum(
            part.count
            for part in self._progress.parts
            if part.collected and part.batch_id not in known
        )
        self._observer.count(ended, failed)

    def _save(self) -> None:
        self._folder.save(self._progress)
