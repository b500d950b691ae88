"""Client of RunPod's REST API v2: find an endpoint by name, create an endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiohttp
import orjson

from worker.errors import UnavailableError, WorkerError, shorten

TIMEOUT_S = 60.0
MAX_DETAIL_LENGTH = 500
"""Characters of RunPod's message that an error repeats."""

KEYS_PAGE = "https://console.runpod.io/user/settings"

ADVICE: Mapping[int, str] = {
    401: f"check RUNPOD_API_KEY, or create a new key at {KEYS_PAGE}",
    403: f"the key has no permission for this; give it write access to endpoints at {KEYS_PAGE}",
    404: "the account has no network volume or registry credential of this id",
}
OTHER_ADVICE = "nothing was created; change the command and try again"


class ApiRejectedError(WorkerError):
    """RunPod rejected the request."""


class AmbiguousResponseError(WorkerError):
    """RunPod's response does not show whether the request was executed."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint that exists.

    Attributes:
        id: RunPod's id.
        name: Its name.
        base_url: Where a load balancer listens; None behind the queue.
    """

    id: str
    name: str
    base_url: str | None = None


class Api:
    """Client for one account. Use it as an asynchronous context manager.

    Args:
        url: Address of all endpoints.
        key: The API key; it is in a header and nowhere else.
        timeout_s: Longest time for one request, seconds.
    """

    def __init__(self, url: str, key: str, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {key}"},
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            trust_env=True,
        )

    async def __aenter__(self) -> Api:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def find(self, name: str) -> Endpoint | None:
        """Return the endpoint with this name; None if there is none.

        Raises:
            ApiRejectedError: RunPod rejected the request.
            UnavailableError: RunPod cannot be reached or does not respond.
        """
        try:
            status, data = await self._send("GET", None)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnavailableError(
                f"RunPod cannot be reached at {self._url}: {_cause(error)}; nothing was created"
            ) from None
        if status != 200 or not isinstance(data, dict):
            raise _rejection(status, data, "RunPod does not list the account's endpoints")
        for item in data.get("endpoints") or ():
            # RunPod once marked endpoints with FlashBoot by this ending.
            if isinstance(item, dict) and str(item.get("name")).removesuffix(" -fb") == name:
                return _endpoint(item)
        return None

    async def create(self, body: Mapping[str, Any]) -> Endpoint:
        """Create an endpoint.

        Raises:
            ApiRejectedError: RunPod rejected the request; nothing was created.
            AmbiguousResponseError: No usable response; the endpoint may exist.
        """
        try:
            status, data = await self._send("POST", body)
        except aiohttp.ClientConnectorError as error:
            # Nothing was sent yet.
            raise UnavailableError(
                f"RunPod cannot be reached at {self._url}: {_cause(error)}; nothing was created"
            ) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise AmbiguousResponseError(f"RunPod did not answer: {_cause(error)}") from None
        if status >= 500:
            raise AmbiguousResponseError(f"RunPod answered {status}: {_detail(data)}")
        if status not in (200, 201):
            raise _rejection(status, data, "RunPod refuses to create the endpoint")
        if not isinstance(data, dict) or not data.get("id"):
            raise AmbiguousResponseError(f"RunPod answered {status} without the endpoint's id")
        return _endpoint(data)

    async def _send(self, method: str, body: Mapping[str, Any] | None) -> tuple[int, Any]:
        headers = None if body is None else {"Content-Type": "application/json"}
        payload = None if body is None else orjson.dumps(body)
        # A redirect would send the key to another host.
        async with self._session.request(
            method, self._url, data=payload, headers=headers, allow_redirects=False
        ) as answer:
            content = await answer.read()
            retry = answer.headers.get("Retry-After")
        try:
            data = orjson.loads(content)
        except orjson.JSONDecodeError:
            data = content.decode("utf-8", "replace")
        if answer.status == 429 and isinstance(data, dict) and retry is not None:
            data = {**data, "errors": [*(data.get("errors") or ()), f"try again in {retry} s"]}
        return answer.status, data


def _endpoint(item: Mapping[str, Any]) -> Endpoint:
    urls = item.get("requestUrls")
    base = urls.get("base") if isinstance(urls, dict) else None
    return Endpoint(str(item.get("id")), str(item.get("name")), base)


def _rejection(status: int, data: Any, what: str) -> ApiRejectedError:
    return ApiRejectedError(
        f"{what} ({status}): {_detail(data)}; {ADVICE.get(status, OTHER_ADVICE)}"
    )


def _detail(data: Any) -> str:
    """Return RunPod's message, from a problem object of RFC 9457 or any other body."""
    if not isinstance(data, dict):
        return shorten(" ".join(str(data).split()), MAX_DETAIL_LENGTH) or "no explanation"
    detail = data.get("detail") or data.get("message") or data.get("title") or "no explanation"
    errors = data.get("errors")
    listed = [str(item) for item in errors] if isinstance(errors, list) else []
    return shorten("; ".join([str(detail), *listed]), MAX_DETAIL_LENGTH)


def _cause(error: BaseException) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or "no reason"
