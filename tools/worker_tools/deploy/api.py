"""Client of RunPod's REST API v2: find an endpoint by name, create an endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from worker.errors import UnavailableError, WorkerError
from worker_tools.runpod_api import (
    KEYS_PAGE,
    RunpodClient,
    describe_no_response,
    describe_rejection,
)

TIMEOUT_S = 60.0

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


class EndpointsClient(RunpodClient):
    """Client for the endpoints of one account, whose address is `url`."""

    async def find(self, name: str) -> Endpoint | None:
        """Return the endpoint with this name; None if there is none.

        Raises:
            ApiRejectedError: RunPod rejected the request.
            UnavailableError: RunPod cannot be reached or does not respond.
        """
        try:
            status, data = await self._request("GET")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from None
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
            status, data = await self._request("POST", body=orjson.dumps(body))
        except aiohttp.ClientConnectorError as error:
            # Nothing was sent yet.
            raise self._unreachable(error) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise AmbiguousResponseError(
                f"RunPod did not answer: {describe_no_response(error)}"
            ) from None
        if status >= 500:
            raise AmbiguousResponseError(f"RunPod answered {status}: {describe_rejection(data)}")
        if status not in (200, 201):
            raise _rejection(status, data, "RunPod refuses to create the endpoint")
        if not isinstance(data, dict) or not data.get("id"):
            raise AmbiguousResponseError(f"RunPod answered {status} without the endpoint's id")
        return _endpoint(data)

    def _unreachable(self, error: BaseException) -> UnavailableError:
        reason = describe_no_response(error)
        return UnavailableError(
            f"RunPod cannot be reached at {self._url}: {reason}; nothing was created"
        )


def _endpoint(item: Mapping[str, Any]) -> Endpoint:
    urls = item.get("requestUrls")
    base = urls.get("base") if isinstance(urls, dict) else None
    return Endpoint(str(item.get("id")), str(item.get("name")), base)


def _rejection(status: int, data: Any, what: str) -> ApiRejectedError:
    return ApiRejectedError(
        f"{what} ({status}): {describe_rejection(data)}; {ADVICE.get(status, OTHER_ADVICE)}"
    )
