"""Client of RunPod's batch operations.

Source:
    https://docs.runpod.io/serverless/batch-jobs; docs/local-endpoint.md lists what is inferred.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.errors import UnavailableError, WorkerError
from worker_tools.runpod_api import RunpodClient, describe_no_response, describe_rejection

TIMEOUT_S = 120.0
"""For one call; an append is up to 10 MiB."""

PATIENCE_S = 600.0
"""How long a call is repeated that RunPod does not answer."""
FIRST_PATIENCE_S = 30.0
"""The same until RunPod has answered once: the address may be wrong."""

FIRST_RETRY_S = 0.5
MAX_RETRY_S = 30.0
"""Waits between the repetitions, doubling from the first to the longest."""

PAGE = 200
"""Requests of one page of results; a result may have 20 MB."""

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
    """It is not known whether RunPod executed a call."""


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


class BatchClient(RunpodClient):
    """Client for the batches of one endpoint. Use it as an asynchronous context manager.

    Args:
        url: The endpoint, e.g. `https://api.runpod.ai/v2/ID`.
        key: The API key, if the endpoint needs one; it is in a header and nowhere else.
        patience_s: How long a call is repeated that RunPod does not answer, seconds.
        note: Called with a sentence for the user when a call has to be repeated.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        patience_s: float = PATIENCE_S,
        note: Callable[[str], None] = lambda _text: None,
    ) -> None:
        super().__init__(f"{url}/batch", key, TIMEOUT_S)
        self._patience_s = patience_s
        self._note = note
        self._has_answered = False

    async def create(self) -> str:
        """Create an empty draft and return its id.

        If the answer is lost, an empty draft is left. It costs nothing and cannot be found again,
        since RunPod takes no name at its creation.
        """
        data = await self._repeat(lambda: self.send("POST", "", b"[]"))
        if not isinstance(data, dict) or not isinstance(data.get("id"), str):
            raise RejectedError("RunPod created a batch without telling its id")
        return str(data["id"])

    async def get(self, batch_id: str) -> Summary:
        """Return a batch's summary."""
        data = await self._repeat(lambda: self.send("GET", f"/{batch_id}"))
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
        await self.send("POST", f"/{batch_id}/requests", body)

    async def finalize(self, batch_id: str) -> None:
        """Lock a draft and start it.

        Raises:
            UnansweredError: It is not known whether it was.
        """
        await self.send("POST", f"/{batch_id}/finalize")

    async def cancel(self, batch_id: str) -> None:
        """Cancel a batch; running requests finish."""
        await self._repeat(lambda: self.send("POST", f"/{batch_id}/cancel"))

    async def results(self, batch_id: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the requests of a batch; an id may come twice if their order changes meanwhile."""
        offset = 0
        while True:
            path = f"/{batch_id}/requests?offset={offset}&limit={PAGE}"
            data = await self._repeat(lambda path=path: self.send("GET", path))  # type: ignore[misc]
            requests = data.get("requests") or []
            for request in requests:
                yield request
            offset += len(requests)
            if not requests or not data.get("hasMore"):
                return

    async def _repeat(self, call: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Repeat an idempotent call until RunPod answers.

        Raises:
            UnavailableError: RunPod did not answer for too long.
        """
        clock = asyncio.get_running_loop().time
        patience_s = self._patience_s
        if not self._has_answered:
            patience_s = min(patience_s, FIRST_PATIENCE_S)
        deadline = clock() + patience_s
        wait_s = FIRST_RETRY_S
        while True:
            try:
                return await call()
            except UnansweredError as error:
                if clock() + wait_s > deadline:
                    raise UnavailableError(
                        f"{error}; run the same command again to resume"
                    ) from None
                if wait_s == FIRST_RETRY_S:
                    self._note(f"{error}; trying again for up to {patience_s:g} s")
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, MAX_RETRY_S)

    async def send(self, method: str, path: str, body: bytes | None = None) -> Any:
        """Make one call and return its data.

        Raises:
            UnansweredError: It is not known whether RunPod executed the call.
            LimitError: A limit of the endpoint is reached.
            RejectedError: RunPod rejected the call.
        """
        try:
            status, data = await self._request(method, path, body)
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = describe_no_response(error)
            raise UnansweredError(f"RunPod cannot be reached: {reason}") from None
        self._has_answered = True
        if status >= 500:
            raise UnansweredError(f"RunPod answered {status}: {describe_rejection(data)}")
        if status == 429:
            raise LimitError(f"RunPod answered 429: {describe_rejection(data)}")
        if status >= 300:
            advice = ADVICE.get(status, "nothing was changed by this call")
            raise RejectedError(f"RunPod answered {status}: {describe_rejection(data)}; {advice}")
        if isinstance(data, str):
            raise UnansweredError(f"RunPod answered {status} without JSON")
        return data
