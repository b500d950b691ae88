"""Post the outputs of one job to RunPod: each piece as it comes, then the whole.

Does what the SDK's `handle_job` does, with the same URLs and bodies, at less cost per post: one
retry client instead of one per post, no log line per token, no header shared between jobs. The
SDK tries again only after a status of 500 or more; here also after 429 and a lost connection, such
as one that the platform closes, idle, just as a post is written to it. In the place of a result
that RunPod refuses, which the SDK only logs, an error is posted. A failed job carries the handler's
error as it is, not a Python traceback.
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
"""About 6 s, as in the SDK, with a short first wait: the stream stands still meanwhile."""

DONE_ATTEMPTS = 40
"""About 110 s, more than the SDK's 5: a result that is not delivered was paid for and is lost."""

FIRST_RETRY_S = 0.2
MAX_RETRY_S = 3.0
"""Waits between attempts, doubling from the first to the longest."""

SOCKET_TIMEOUT_S = 60.0
"""How long a post may wait for its reply. After that its connection counts as dead, as one is whose
other end went away without a word; the SDK's session would wait 600 s."""

MAX_RESULT_BYTES = 20_000_000
"""RunPod refuses larger results and the client would wait for ever."""

LONGEST_TEXT = 2_000_000
"""Characters of a streamed text in one post. RunPod cuts texts above 1 MB anyway, wherever that is,
but takes no post as large as one event of vLLM can become that holds many log-probabilities."""

NOT_ANSWERABLE = frozenset({404, 410})
"""Statuses with which RunPod says that it no longer has the job; an error would be refused too."""

NOT_JSON = "The worker made a result that JSON cannot hold; its log has more under this job's id."

HEADERS = {"charset": "utf-8", "Content-Type": "application/x-www-form-urlencoded"}
"""As the SDK sends them; the body is JSON all the same."""


class Delivery:
    """Runs handlers and posts what they yield.

    Args:
        session: The SDK's HTTP session, with the platform's credentials.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._stream_client = _build_client(session, STREAM_ATTEMPTS)
        self._done_client = _build_client(session, DONE_ATTEMPTS)

    async def run(
        self, handler: Handler, job: Mapping[str, Any], stats: JobStats
    ) -> dict[str, Any]:
        """Run one job's handler and post what it yields; return the result, for `done`."""
        job_id = job["id"]
        outputs: list[Output] = []
        async with aclosing(handler(job)) as stream:
            async for output in stream:
                if isinstance(output, dict) and output.get("error"):
                    stats.record_failure(output["error"], output.get("raised_at", ""))
                    return {"error": output["error"]}
                outputs.append(output)
                for part in _cut(output):
                    body = orjson.dumps({"output": part})
                    if len(body) > MAX_RESULT_BYTES:
                        return {"error": _too_large(len(body), pieces=1).json()}
                    stats.record_post(len(body))
                    status = await self._post(self._stream_client, job_id, job_stream_url, body)
                    if not _accepted(status):
                        stats.record_rejected_post()
        return {"output": outputs}

    async def done(self, job_id: str, result: dict[str, Any]) -> dict[str, Any]:
        """Post the result of a job; return what became of the job.

        In the place of a result that is too large, that JSON cannot hold or that RunPod refuses, an
        error is posted, once.

        Returns:
            The result; an error where the result was not accepted.
        """
        try:
            body = orjson.dumps(result)
        except TypeError as error:
            runpod_log.error(f"The result is not JSON: {type(error).__name__}", job_id)
            return await self._done_instead(job_id, request_error(Code.INTERNAL_ERROR, NOT_JSON))
        if len(body) > MAX_RESULT_BYTES:
            too_large = _too_large(len(body), len(result.get("output", ())))
            return await self._done_instead(job_id, too_large)
        status = await self._post(self._done_client, job_id, job_done_url, body)
        if _accepted(status):
            return result
        refusal = request_error(Code.RESULT_REFUSED, _describe_refusal(status, len(body)))
        if status is None or status in NOT_ANSWERABLE:
            return {"error": refusal.json()}
        return await self._done_instead(job_id, refusal)

    async def _done_instead(self, job_id: str, error: RequestError) -> dict[str, Any]:
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
        """Post `body`; return the status of the reply, None if there was none."""
        headers = {**HEADERS, "X-Request-ID": job_id}
        timeout = aiohttp.ClientTimeout(sock_connect=SOCKET_TIMEOUT_S, sock_read=SOCKET_TIMEOUT_S)
        try:
            async with client.post(
                url(job_id), data=body, headers=headers, timeout=timeout
            ) as response:
                await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            runpod_log.error(f"RunPod did not take the output: {type(error).__name__}", job_id)
            return None
        if not _accepted(response.status):
            problem = f"RunPod refused an output of {len(body)} bytes with status {response.status}"
            runpod_log.error(problem, job_id)
        return int(response.status)


def _accepted(status: int | None) -> bool:
    return status is not None and status < HTTPStatus.BAD_REQUEST


def _describe_refusal(status: int | None, size: int) -> str:
    if status is None:
        return f"RunPod did not take the result of {size} bytes."
    message = f"RunPod refused the result of {size} bytes with status {status}."
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        message += " Ask for fewer tokens, choices or log-probabilities."
    return message


def _cut(output: Output) -> list[Output]:
    """Return an output as what is posted of it, one after the other."""
    if not isinstance(output, str) or len(output) <= LONGEST_TEXT:
        return [output]
    return [output[i : i + LONGEST_TEXT] for i in range(0, len(output), LONGEST_TEXT)]


def _too_large(size: int, pieces: int) -> RequestError:
    """Return the error for a result, of so many bytes and streamed pieces, that is not accepted."""
    if pieces > 1:
        message = (
            f"The answer was streamed in {pieces} pieces, which readers of the stream have; "
            f"together they are {size} bytes, and RunPod keeps no more than {MAX_RESULT_BYTES} as "
            "a job's result. Ask for fewer tokens, choices or log-probabilities, or read only the "
            "stream."
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
    """Return when a post is tried again, `attempts` times in all."""
    return ExponentialRetry(
        attempts=attempts,
        start_timeout=FIRST_RETRY_S / 2,  # The first wait is already doubled.
        max_timeout=MAX_RETRY_S,
        statuses={408, 429},
        exceptions={aiohttp.ClientConnectionError},
    )
