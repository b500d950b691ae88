"""The OpenAI-compatible path of the endpoint. docs/local-endpoint.md lists what is inferred."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import orjson
from aiohttp import web

from worker_tools.dev.job import Job, JobRequest, JobStatus
from worker_tools.dev.reply import parse_object, read_body, reply_json
from worker_tools.dev.store import JobStore

STATUS_CODES = {
    JobStatus.FAILED: 500,
    JobStatus.CANCELLED: 500,
    JobStatus.TIMED_OUT: 504,
}


class Gateway:
    """Turns each HTTP request below /openai into a job, and the job into an HTTP response."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def routes(self, base: str) -> list[web.RouteDef]:
        """Return the routes below `base`, e.g. `/v2/local`."""
        return [web.route("*", f"{base}/openai/{{path:.+}}", self._serve)]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        limits = self._store.limits
        body = await read_body(request, limits.runsync_body_bytes)
        members = parse_object(body) if body.strip() else {}
        route = "/" + request.match_info["path"]
        job = self._store.submit(
            JobRequest(
                input={"openai_route": route, "openai_input": members},
                sync=True,
                execution_timeout_ms=limits.execution_timeout_ms,
                ttl_ms=limits.ttl_ms,
                retention_s=limits.runsync_retention_s,
                size_bytes=len(body),
            )
        )
        try:
            if members.get("stream") is True:
                return await self._stream(request, job)
            await job.finished()
            return answer(job)
        except asyncio.CancelledError:
            # The client disconnected.
            self._store.cancel(job)
            raise

    async def _stream(self, request: web.Request, job: Job) -> web.StreamResponse:
        """Respond with server-sent events from the first chunk on; without chunks, the result."""
        while not job.chunks:
            if job.final:
                return answer(job)
            await job.changed()
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        )
        try:
            await response.prepare(request)
            await self._relay(response, job)
            await response.write_eof()
        except ConnectionError:
            self._store.cancel(job)
        return response

    async def _relay(self, response: web.StreamResponse, job: Job) -> None:
        """Write the job's chunks as they arrive, until it ends."""
        attempt, sent = job.attempt, 0
        while True:
            while job.attempt == attempt and sent < len(job.chunks):
                await response.write(encode_event(job.chunks[sent]))
                sent += 1
            if job.attempt != attempt or job.status is JobStatus.IN_QUEUE:
                self._store.cancel(job)
                await response.write(encode_event({"error": "the worker was lost mid-stream"}))
                return
            if job.final:
                if job.status is not JobStatus.COMPLETED:
                    await response.write(encode_event(error_body(job)))
                return
            await job.changed()


def encode_event(chunk: Any) -> bytes:
    """Return a chunk as bytes of an event stream.

    Text is passed on as it is: the worker yields complete events. Anything else becomes one event.
    """
    if isinstance(chunk, str):
        return chunk.encode()
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def answer(job: Job) -> web.Response:
    """Return the HTTP response for a finished job that is not streamed."""
    if job.status is not JobStatus.COMPLETED:
        return reply_json(error_body(job), STATUS_CODES[job.status])
    output = join_outputs(job.output)
    if not isinstance(output, str):
        return reply_json(output)
    # A handler may yield JSON as text, which becomes the body.
    kind = "application/json" if is_json(output) else "text/plain"
    return web.Response(text=output, content_type=kind)


def join_outputs(output: Any) -> Any:
    """Return the body that the list of a generator's yields represents."""
    if not isinstance(output, list):
        return output
    if len(output) == 1:
        return output[0]
    if output and all(isinstance(part, str) for part in output):
        return "".join(output)
    return output


def is_json(text: str) -> bool:
    """Return whether `text` is a JSON document."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def error_body(job: Job) -> dict[str, Any]:
    """Return the error of a job without a result: the worker's error object if it has one."""
    if job.error is None:
        ended = "was cancelled" if job.status is JobStatus.CANCELLED else "failed"
        return {"error": f"the job {ended}"}
    if isinstance(job.error, str):
        with suppress(orjson.JSONDecodeError):
            decoded = orjson.loads(job.error)
            if isinstance(decoded, dict) and "error" in decoded:
                return decoded
    return {"error": job.error}
