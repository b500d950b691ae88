"""Run one job's handler and post its outputs to RunPod: each chunk, then the whole result.

This replaces the SDK's `handle_job`, with the same URLs and bodies. A post costs less: one retry
client instead of one per post, no log line per token, no header shared between jobs. The SDK
retries only after a status of 500 or more. The runner also retries after 429 and after a lost
connection, e.g. an idle one that the platform closes during a post. If RunPod refuses a result, the
SDK only logs it; the runner posts an error instead. A failed job has the handler's error, not a
Python traceback.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from http import HTTPStatus
from typing import Any

import aiohttp
import orjson

from worker.errors import RequestError
from worker.queue.job_stats import JobStats
from worker.queue.sdk import (
    ExponentialRetry,
    RetryClient,
    job_done_url,
    job_stream_url,
    runpod_log,
)
from worker.request.codes import Code, request_error

Output = str | dict[str, Any]
Handler = Callable[[Mapping[str, Any]], AsyncGenerator[Output, None]]

STREAM_ATTEMPTS = 6
"""About 6 s, as in the SDK, with a short first wait, because the stream waits meanwhile."""

DONE_ATTEMPTS = 40
"""About 110 s, more than the SDK's 5 s, because an undelivered result is lost and was paid for."""

FIRST_RETRY_S = 0.2
MAX_RETRY_S = 3.0
"""Waits between attempts, doubling from the first to the longest."""

SOCKET_TIMEOUT_S = 60.0
"""Time limit for the response to a post. Then the connection counts as dead, because the other end
may have gone without closing it; the SDK's session would wait 600 s."""

MAX_RESULT_BYTES = 20_000_000
"""RunPod refuses larger results, and the client would wait forever."""

POST_FRAME_BYTES = len('{"output":""}')
"""Bytes of a streamed post that are not in the result."""

MAX_TEXT_CHARS = 2_000_000
"""Characters of a streamed text in one post. RunPod splits texts above 1 MB at any character, but
refuses a post as large as one event of vLLM with many log-probabilities."""

NOT_ANSWERABLE = frozenset({404, 410})
"""Statuses that mean that RunPod no longer has the job; it would refuse an error too."""

NOT_JSON = "The result of the worker is not JSON; its log has the cause under this job's id."

HEADERS = {"charset": "utf-8", "Content-Type": "application/x-www-form-urlencoded"}
"""As the SDK sends them, although the body is JSON."""


class JobRunner:
    """Runs handlers and posts their outputs.

    Args:
        session: The SDK's HTTP session, with the platform's credentials.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._stream_client = _build_client(session, STREAM_ATTEMPTS)
        self._done_client = _build_client(session, DONE_ATTEMPTS)

    async def run(
        self, handler: Handler, job: Mapping[str, Any], stats: JobStats
    ) -> dict[str, Any]:
        """Run one job's handler, post its outputs, and return the result for `report_result`.

        The result repeats all outputs. Once they are larger than RunPod accepts as a result, they
        are no longer kept. The rest is still streamed, and the job then fails with an error that
        says so.

        Nobody reads the stream of a job that belongs to a batch. Its outputs are in the result
        only, and the job does not keep its slot for the duration of their posts.
        """
        job_id = job["id"]
        is_streamed = job.get("batchId") is None
        outputs: list[Output] = []
        count = 0
        size = 0
        async with aclosing(handler(job)) as stream:
            async for output in stream:
                if isinstance(output, dict) and output.get("error"):
                    stats.record_failure(output["error"], output.get("raised_at", ""))
                    return {"error": output["error"]}
                outputs.append(output)
                count += 1
                for part in _cut(output):
                    body = orjson.dumps({"output": part})
                    if len(body) > MAX_RESULT_BYTES:
                        return {"error": _too_large(len(body), chunks=1).json()}
                    size += len(body) - POST_FRAME_BYTES
                    if size > MAX_RESULT_BYTES:
                        outputs.clear()
                    if not is_streamed:
                        continue
                    stats.record_post(len(body))
                    status = await self._post(self._stream_client, job_id, job_stream_url, body)
                    if not _accepted(status):
                        stats.record_rejected_post()
        if size > MAX_RESULT_BYTES:
            return {"error": _too_large(size, count).json()}
        return {"output": outputs}

    async def report_result(self, job_id: str, result: dict[str, Any]) -> dict[str, Any]:
        """Post the result of a job.

        If RunPod refuses the result, or it is too large or not JSON, post an error instead, once.

        Returns:
            The posted result; an error if RunPod did not accept the result.
        """
        try:
            body = orjson.dumps(result)
        except TypeError as error:
            runpod_log.error(f"The result is not JSON: {type(error).__name__}", job_id)
            return await self._report_error(job_id, request_error(Code.INTERNAL_ERROR, NOT_JSON))
        if len(body) > MAX_RESULT_BYTES:
            too_large = _too_large(len(body), len(result.get("output", ())))
            return await self._report_error(job_id, too_large)
        status = await self._post(self._done_client, job_id, job_done_url, body)
        if _accepted(status):
            return result
        refusal = request_error(Code.RESULT_REFUSED, _describe_refusal(status, len(body)))
        if status is None or status in NOT_ANSWERABLE:
            return {"error": refusal.json()}
        return await self._report_error(job_id, refusal)

    async def _report_error(self, job_id: str, error: RequestError) -> dict[str, Any]:
        result = {"error": error.json()}
        await self._post(self._done_client, job_id, job_done_url, orjson.dumps(result))
        return result

    async def _post(
        self,
        client: RetryClient,
        job_id: str,
        url: Callable[[str], str],
        body: bytes,
    ) -> int | None:
        """Post `body`; return the status of the response, None without a response."""
        headers = {**HEADERS, "X-Request-ID": job_id}
        timeout = aiohttp.ClientTimeout(sock_connect=SOCKET_TIMEOUT_S, sock_read=SOCKET_TIMEOUT_S)
        try:
            async with client.post(
                url(job_id), data=body, headers=headers, timeout=timeout
            ) as response:
                await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            runpod_log.error(f"RunPod did not accept the output: {type(error).__name__}", job_id)
            return None
        if not _accepted(response.status):
            problem = f"RunPod refused an output of {len(body)} bytes with status {response.status}"
            runpod_log.error(problem, job_id)
        return int(response.status)


def _accepted(status: int | None) -> bool:
    return status is not None and status < HTTPStatus.BAD_REQUEST


def _describe_refusal(status: int | None, size: int) -> str:
    if status is None:
        return f"RunPod did not accept the result of {size} bytes."
    message = f"RunPod refused the result of {size} bytes with status {status}."
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        message += " Ask for fewer tokens, choices or log-probabilities."
    return message


def _cut(output: Output) -> list[Output]:
    """Return the parts of an output that are posted one after the other."""
    if not isinstance(output, str) or len(output) <= MAX_TEXT_CHARS:
        return [output]
    return [output[i : i + MAX_TEXT_CHARS] for i in range(0, len(output), MAX_TEXT_CHARS)]


def _too_large(size: int, chunks: int) -> RequestError:
    """Return the error for a result that is too large.

    Args:
        size: Of the result, bytes.
        chunks: Number of streamed outputs.
    """
    if chunks > 1:
        message = (
            f"The stream of {chunks} chunks was delivered, but its {size} bytes exceed RunPod's "
            f"limit of {MAX_RESULT_BYTES} for a job's result. Ask for fewer tokens, choices or "
            "log-probabilities, or read only the stream."
        )
    else:
        message = (
            f"The result has {size} bytes; RunPod accepts {MAX_RESULT_BYTES}. Ask for fewer "
            "tokens, choices or log-probabilities, or read the answer as a stream."
        )
    return request_error(Code.RESULT_TOO_LARGE, message)


def _build_client(session: aiohttp.ClientSession, attempts: int) -> RetryClient:
    return RetryClient(client_session=session, retry_options=build_retry(attempts))


def build_retry(attempts: int) -> ExponentialRetry:
    """Return the retry schedule of a post with `attempts` attempts in total."""
    return ExponentialRetry(
        attempts=attempts,
        start_timeout=FIRST_RETRY_S / 2,  # The first wait is already doubled.
        max_timeout=MAX_RETRY_S,
        statuses={408, 429},
        exceptions={aiohttp.ClientConnectionError},
    )
