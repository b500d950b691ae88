"""The worker side of RunPod's API: take, stream, done, stop and ping, with faults and delay."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from worker_tools.dev.faults import Fault, Faults, Operation, WorkerCall
from worker_tools.dev.job import Job
from worker_tools.dev.reply import ApiError, parse_object, read_body, reply_json
from worker_tools.dev.store import JobStore

MAX_BATCH = 1000
"""Maximum number of jobs that one job-take-batch hands out."""


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Response of an operation, with callbacks for its delivery.

    Attributes:
        response: The reply.
        delivered: Called when the reply was written.
        undelivered: Called when the worker was gone before the reply.
    """

    response: web.Response
    delivered: Callable[[], None] = _nothing
    undelivered: Callable[[], None] = _nothing


Process = Callable[[web.Request, WorkerCall], Awaitable[Outcome]]


class WorkerApi:
    """Routes of the worker side."""

    def __init__(self, store: JobStore, faults: Faults, rtt_ms: Callable[[], float]) -> None:
        self._store = store
        self._faults = faults
        self._rtt_ms = rtt_ms

    def routes(self, base: str) -> list[web.RouteDef]:
        """Return the routes below `base`, e.g. `/v2/local`."""
        take = self._serve("take", self._take)
        take_batch = self._serve("take", self._take_batch)
        return [
            web.get(f"{base}/job-take/{{worker}}", take),
            web.get(f"{base}/job-take-batch/{{worker}}", take_batch),
            web.get(f"{base}/job-stop/{{worker}}", self._serve("stop", self._stop)),
            web.get(f"{base}/ping/{{worker}}", self._serve("ping", self._ping)),
            web.post(f"{base}/job-stream/{{worker}}/{{job}}", self._serve("stream", self._stream)),
            web.post(f"{base}/job-done/{{worker}}/{{job}}", self._serve("done", self._done)),
        ]

    def _serve(
        self, operation: Operation, process: Process
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            body = await read_body(request, self._store.limits.done_body_bytes)
            call = WorkerCall(
                operation, request.match_info["worker"], request.match_info.get("job"), body
            )
            await self._travel()
            fault = self._faults.match(call)
            if fault is not None:
                await asyncio.sleep(fault.delay_s)
                if fault.answers:
                    return await self._answer_fault(fault, request, call, process)
            outcome = await process(request, call)
            await self._deliver(request, outcome)
            return outcome.response

        return serve

    async def _travel(self) -> None:
        if rtt_ms := self._rtt_ms():
            await asyncio.sleep(rtt_ms / 2000)

    async def _deliver(self, request: web.Request, outcome: Outcome) -> None:
        try:
            await self._travel()
            # One iteration of the event loop detects a connection that the worker closed, before
            # the job is written to it.
            await asyncio.sleep(0)
            if request.transport is None or request.transport.is_closing():
                outcome.undelivered()
                return
            await outcome.response.prepare(request)
            await outcome.response.write_eof()
        except (asyncio.CancelledError, ConnectionError):
            outcome.undelivered()
            raise
        outcome.delivered()

    async def _answer_fault(
        self, fault: Fault, request: web.Request, call: WorkerCall, process: Process
    ) -> web.StreamResponse:
        if fault.processed:
            outcome = await process(request, call)
            outcome.delivered()
        await self._travel()
        if fault.drop and request.transport is not None:
            request.transport.abort()
        return web.Response(
            status=fault.status or 200,
            body=fault.body if fault.body is not None else b'{"error":"injected fault"}',
            content_type="application/json",
        )

    async def _take(self, request: web.Request, call: WorkerCall) -> Outcome:
        jobs = await self._store.take(call.worker_id, 1)
        return self._hand_out(jobs, batch=False)

    async def _take_batch(self, request: web.Request, call: WorkerCall) -> Outcome:
        size = request.query.get("batch_size", "1")
        if not size.isdecimal() or not 1 <= int(size) <= MAX_BATCH:
            raise ApiError(400, f"batch_size has to be 1 to {MAX_BATCH}")
        return self._hand_out(await self._store.take(call.worker_id, int(size)), batch=True)

    def _hand_out(self, jobs: list[Job], *, batch: bool) -> Outcome:
        if not jobs:
            return Outcome(web.Response(status=204))
        bodies = []
        for job in jobs:
            body = {"id": job.id, "input": job.request.input}
            if job.request.webhook is not None:
                body["webhook"] = job.request.webhook
            if job.request.s3_config is not None:
                body["s3Config"] = job.request.s3_config
            if job.request.batch_id is not None:
                body["batchId"] = job.request.batch_id
            bodies.append(body)
        return Outcome(
            reply_json(bodies if batch else bodies[0]),
            delivered=lambda: self._store.confirm(jobs),
            undelivered=lambda: self._store.give_back(jobs),
        )

    async def _stop(self, request: web.Request, call: WorkerCall) -> Outcome:
        ids = await self._store.stop_signals(call.worker_id)
        if not ids:
            return Outcome(web.Response(status=204))
        return Outcome(
            reply_json({"jobsToStop": ids}),
            undelivered=lambda: self._store.restore_stops(call.worker_id, ids),
        )

    async def _ping(self, request: web.Request, call: WorkerCall) -> Outcome:
        named = request.query.get("job_id", "")
        self._store.ping(call.worker_id, named.split(",") if named else [])
        if request.query.get("status") == "unhealthy":
            check = request.query.get("check", "a fitness check")
            reason = request.query.get("reason", "no reason given")
            self._store.workers.get(call.worker_id).unhealthy = f"{check}: {reason}"
        return Outcome(reply_json({"status": "ok"}))

    async def _stream(self, request: web.Request, call: WorkerCall) -> Outcome:
        body = parse_object(call.body)
        if "output" not in body:
            raise ApiError(400, 'a stream post has to be {"output": ...}')
        chunks = split_output(body["output"], self._store.limits.chunk_bytes)
        self._store.add_chunk(call.worker_id, call.job_id or "", chunks, len(call.body))
        return Outcome(reply_json({"status": "ok"}))

    async def _done(self, request: web.Request, call: WorkerCall) -> Outcome:
        body = parse_object(call.body)
        self._store.finish(call.worker_id, call.job_id or "", body, len(call.body))
        return Outcome(reply_json({"status": "ok"}))


def split_output(output: Any, limit_bytes: int) -> list[Any]:
    """Split a streamed text that is too large for one chunk.

    Args:
        output: What the worker streamed; anything but text stays whole.
        limit_bytes: Largest chunk, in bytes of UTF-8; no character is cut.

    Returns:
        The chunks; together they are `output`.
    """
    if not isinstance(output, str) or len(output) * 4 <= limit_bytes:
        return [output]
    data = output.encode()
    chunks, start = [], 0
    while start < len(data):
        end = min(start + limit_bytes, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        chunks.append(data[start:end].decode())
        start = end
    return chunks
