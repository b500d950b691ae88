"""Shared by the clients of RunPod's APIs: the key, requests, the text of a rejection."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp
import orjson

from worker.errors import shorten

KEY_VARIABLE = "RUNPOD_API_KEY"
KEYS_PAGE = "https://console.runpod.io/user/settings"
LOOPBACK = ("127.0.0.1", "::1", "localhost")

MAX_DETAIL_LENGTH = 500
"""Characters of RunPod's message that an error repeats."""


class Reply(NamedTuple):
    """A response: its status, and its body as JSON, or as text if it is not JSON."""

    status: int
    data: Any


class RunpodClient:
    """A session with RunPod. Use it as an asynchronous context manager.

    Args:
        url: Address that all paths continue.
        key: The API key, if one is needed; it is in a header and nowhere else.
        timeout_s: Maximum time for one request, seconds.
    """

    def __init__(self, url: str, key: str | None, timeout_s: float) -> None:
        self._url = url
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=aiohttp.ClientTimeout(total=timeout_s),
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

    async def _request(self, method: str, path: str = "", body: bytes | None = None) -> Reply:
        """Send one request, whose body is JSON.

        Raises:
            aiohttp.ClientError: RunPod cannot be reached.
            TimeoutError: RunPod did not answer in time.
        """
        headers = None if body is None else {"Content-Type": "application/json"}
        # A redirect would send the key to another host.
        async with self._session.request(
            method, self._url + path, data=body, headers=headers, allow_redirects=False
        ) as response:
            content = await response.read()
            retry_after = response.headers.get("Retry-After")
        try:
            data = orjson.loads(content)
        except orjson.JSONDecodeError:
            data = content.decode(errors="replace")
        if response.status == 429 and isinstance(data, dict) and retry_after is not None:
            data = {**data, "errors": [*list_errors(data), f"try again in {retry_after} s"]}
        return Reply(response.status, data)


def read_key(environ: Mapping[str, str]) -> str:
    """Return the API key of the environment, empty if there is none."""
    return environ.get(KEY_VARIABLE, "").strip()


def is_valid_key(key: str) -> bool:
    """Return whether a key can be sent in a header."""
    return re.fullmatch(r"[\x21-\x7e]+", key) is not None


def describe_rejection(data: Any) -> str:
    """Return RunPod's message, from a problem object of RFC 9457 or any other body."""
    if not isinstance(data, dict):
        return shorten(" ".join(str(data).split()), MAX_DETAIL_LENGTH) or "no explanation"
    names = ("error", "detail", "message", "title")
    detail = next((data[name] for name in names if data.get(name)), "no explanation")
    return shorten("; ".join([str(detail), *list_errors(data)]), MAX_DETAIL_LENGTH)


def list_errors(data: Mapping[str, Any]) -> list[str]:
    """Return the single errors of a problem object."""
    errors = data.get("errors")
    return [str(item) for item in errors] if isinstance(errors, list) else []


def describe_no_response(error: BaseException) -> str:
    """Return why there is no response."""
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        reason = os.strerror(cause.errno) if cause.errno else cause.strerror or "no reason"
        return f"no connection to {error.host}:{error.port}: {reason}"
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or "no reason"
