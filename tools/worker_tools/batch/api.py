"""Client of RunPod's batch operations.

Source:
    https://docs.runpod.io/serverless/batch-jobs; docs/local-endpoint.md lists what is inferred.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.errors import UnavailableError, WorkerError, shorten

TIMEOUT_S = 120.0
"""For one call; an append is up to 10 MiB."""

PATIENCE_S = 600.0
"""How long a call is repeated that RunPod does not answer."""

FIRST_RETRY_S = 0.5
MAX_RETRY_S = 30.0
"""Waits between the repetitions, doubling from the first to the longest."""

PAGE = 200
"""Requests of one page of results; a result may have 20 MB."""

DETAIL = 300
"""Characters of RunPod's message that an error repeats."""

ADVICE = {
    401: "check RUNPOD_API_KEY",
    403: "the key has no permission for this endpoint",
    404: "check --endpoint; a load balancer endpoint has no batches",
}

ResultT = TypeVar("ResultT")


class RejectedError(WorkerError):
    """RunPod rejected a call."""


class LimitError(WorkerError):
    """A limit of the endpoint is reached; waiting helps."""


class UnansweredError(WorkerError):
    """It is not known whether RunPod carried a call out."""


class Summary(BaseModel):
    """A batch as RunPod reports it; times and names are not needed here."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    id: str
    status: str
    total: int = Field(alias="requestTotal")
    in_progress: int = Field(default=0, alias="requestInProgress")
    completed: int = Field(default=0, alias="requestCompleted")
    failed: int = Field(default=0, alias="requestFailed")

    @property
    def ended(self) -> int:
        """Requests that have a result."""
        return self.completed + self.failed

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        if self.status in ("FAILED", "CANCELLED"):
            return self.in_progress == 0
        return self.status == "FINALIZED" and self.ended >= self.total


class BatchClient:
    """Client for the batches of one endpoint. Use it as an asynchronous context manager.

    Args:
        url: The endpoint, e.g. `https://api.runpod.ai/v2/ID`.
        key: The API key, if the endpoint needs one; it is in a header and nowhere else.
        patience_s: How long a call is repeated that RunPod does not answer, seconds.
    """

    def __init__(self, url: str, key: str | None, patience_s: float = PATIENCE_S) -> None:
        self._url = f"{url}/batch"
        self._patience_s = patience_s
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            trust_env=True,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def create(self) -> str:
        """Create an empty draft and return its id.

        If the answer is lost, an empty draft is left. It costs nothing and cannot be found again,
        since RunPod takes no name at its creation.
        """
        data = await self._repeat(lambda: self._send("POST", "", b"[]"))
        if not isinstance(data, dict) or not isinstance(data.get("id"), str):
            raise RejectedError("RunPod created a batch without telling its id")
        return str(data["id"])

    async def get(self, batch_id: str) -> Summary:
        """Return a batch's summary."""
        data = await self._repeat(lambda: self._send("GET", f"/{batch_id}"))
        try:
            return Summary.model_validate(data)
        except ValidationError as error:
            places = ", ".join(str(item["loc"][0]) for item in error.errors() if item["loc"])
            raise RejectedError(f"RunPod describes batch {batch_id} without {places}") from None

    async def append(self, batch_id: str, body: bytes) -> None:
        """Append requests to a draft.

        Raises:
            UnansweredError: It is not known whether they were appended.
        """
        await self._send("POST", f"/{batch_id}/requests", body)

    async def finalize(self, batch_id: str) -> None:
        """Lock a draft and start it.

        Raises:
            UnansweredError: It is not known whether it was.
        """
        await self._send("POST", f"/{batch_id}/finalize")

    async def cancel(self, batch_id: str) -> None:
        """Cancel a batch; what is in progress finishes."""
        await self._repeat(lambda: self._send("POST", f"/{batch_id}/cancel"))

    async def results(self, batch_id: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the requests of a batch; an id may come twice if their order changes meanwhile."""
        offset = 0
        while True:
            path = f"/{batch_id}/requests?offset={offset}&limit={PAGE}"
            data = await self._repeat(lambda path=path: self._send("GET", path))  # type: ignore[misc]
            requests = data.get("requests") or []
            for request in requests:
                yield request
            offset += len(requests)
            if not requests or not data.get("hasMore"):
                return

    async def _repeat(self, call: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Repeat a call that may be carried out twice, until RunPod answers.

        Raises:
            UnavailableError: RunPod did not answer for too long.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._patience_s
        wait_s = FIRST_RETRY_S
        while True:
            try:
                return await call()
            except UnansweredError as error:
                if clock() + wait_s > deadline:
                    raise UnavailableError(
                        f"{error}; run the same command again to go on"
                    ) from None
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, MAX_RETRY_S)

    async def _send(self, method: str, path: str, body: bytes | None = None) -> Any:
        headers = None if body is None else {"Content-Type": "application/json"}
        try:
            # A redirect would send the key to another host.
            async with self._session.request(
                method, self._url + path, data=body, headers=headers, allow_redirects=False
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
            raise UnansweredError(f"RunPod cannot be reached: {reason}") from None
        if answer.status >= 500:
            raise UnansweredError(f"RunPod answered {answer.status}: {_detail(content)}")
        if answer.status == 429:
            raise LimitError(f"RunPod answered 429: {_detail(content)}")
        if answer.status >= 300:
            advice = ADVICE.get(answer.status, "nothing was changed by this call")
            raise RejectedError(f"RunPod answered {answer.status}: {_detail(content)}; {advice}")
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:
            raise UnansweredError(f"RunPod answered {answer.status} without JSON") from None


def _detail(content: bytes) -> str:
    """Return RunPod's message."""
    try:
        data = orjson.loads(content)
    except orjson.JSONDecodeError:
        data = content.decode(errors="replace")
    if isinstance(data, dict):
        data = data.get("error") or data.get("detail") or data.get("message") or "no explanation"
    return shorten(" ".join(str(data).split()), DETAIL)
