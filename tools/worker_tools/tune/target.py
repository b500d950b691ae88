"""The endpoint to measure: its address, its key, its models, and how its failures are explained."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from worker.errors import UnavailableError, WorkerError, shorten
from worker.suggest import did_you_mean, suggest
from worker_tools.batch.command import BASE_URL, BASE_URL_VARIABLE, UsageError
from worker_tools.runpod_api import (
    KEY_VARIABLE,
    KEYS_PAGE,
    LOOPBACK,
    Reply,
    RunpodClient,
    describe_no_response,
    describe_rejection,
    is_valid_key,
)

CLIENT_KEY = "OPENAI_API_KEY"
"""Variable of OpenAI's clients, and of vLLM's, for an endpoint outside RunPod."""

RUNPOD_HOSTS = ("runpod.ai", "runpod.net")
QUEUE = re.compile(r"(?P<base>.*/v2/[^/]+)(/openai(/v1)?)?")
SUMMARY_CHARS = 300
POLL_S = 0.5
OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint.

    Attributes:
        base_url: URL before `/v1` of OpenAI's routes.
        key: Goes into a header, and nowhere else.
        queue_url: URL of a RunPod endpoint's own operations; None for other servers.
    """

    base_url: str
    key: str | None = None
    queue_url: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        return urlsplit(self.base_url).hostname in LOOPBACK


@dataclass(frozen=True, slots=True)
class Model:
    """A model that the endpoint lists.

    Attributes:
        name: Its name in requests.
        root: Where its files are.
        max_tokens: Maximum prompt and answer together; None if not listed.
    """

    name: str
    root: str
    max_tokens: int | None


@dataclass(frozen=True, slots=True)
class FirstRequest:
    """What the first request found.

    Attributes:
        models: The endpoint's models.
        seconds: How long it took.
        delay_s: Of these, its time in RunPod's queue; None for other servers.
    """

    models: tuple[Model, ...]
    seconds: float
    delay_s: float | None = None


def find_target(environ: Mapping[str, str], url: str) -> Target:
    """Return address and key of an endpoint; nothing is sent.

    Raises:
        UsageError: The URL or the key cannot be used.
    """
    if re.fullmatch(r"[A-Za-z0-9_-]+", url):
        base = environ.get(BASE_URL_VARIABLE, "").strip() or BASE_URL
        url = f"{base.rstrip('/')}/{url}"
    url = url.rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise UsageError(
            f"{url}: expected the id of a RunPod endpoint, or a URL such as "
            "http://127.0.0.1:8000, https://host/v1 or https://api.runpod.ai/v2/ID"
        )
    on_runpod = any(parts.hostname == h or parts.hostname.endswith(f".{h}") for h in RUNPOD_HOSTS)
    variable = KEY_VARIABLE if on_runpod else CLIENT_KEY
    key = environ.get(variable, "").strip()
    local = parts.hostname in LOOPBACK
    if key and not is_valid_key(key):
        raise UsageError(f"{variable} has characters that a key cannot contain; copy it again")
    if key and parts.scheme == "http" and not local:
        raise UsageError(f"{parts.hostname} is not encrypted; the key in {variable} would be sent")
    if on_runpod and not key:
        raise UsageError(f"{KEY_VARIABLE} is not set; get a key from {KEYS_PAGE}")
    if queue := QUEUE.fullmatch(url):
        return Target(f"{queue['base']}/openai", key or None, queue["base"])
    return Target(url.removesuffix("/v1"), key or None)


async def ask_models(target: Target, timeout_s: float) -> FirstRequest:
    """Send the first request, which a worker may have to start for, and return the models.

    To a queue it is a job of its own, since only a job's status has its time in the queue.

    Raises:
        WorkerError: The endpoint cannot be used; the message has the next step.
    """
    began_s = time.perf_counter()
    delay_s: float | None = None
    base = target.queue_url or target.base_url
    try:
        async with (
            asyncio.timeout(timeout_s),
            EndpointClient(base, target.key, timeout_s) as client,
        ):
            if target.queue_url is None:
                found = await client.call("GET", "/v1/models")
            else:
                found, delay_s = await _run_models(client)
    except TimeoutError:
        raise UnavailableError(_explain_timeout(target, timeout_s)) from None
    models = _read_models(found)
    if not models:
        raise UnavailableError(f"{target.base_url} listed no models; is it an OpenAI API?")
    return FirstRequest(models, time.perf_counter() - began_s, delay_s)


async def try_request(
    target: Target, route: str, body: Mapping[str, Any], timeout_s: float
) -> None:
    """Send one request of the load: vLLM's client would tell only the status of a rejection.

    Raises:
        WorkerError: It was rejected or not answered; the message has the next step.
    """
    try:
        async with EndpointClient(target.base_url, target.key, timeout_s) as client:
            await client.call("POST", route, {**body, "stream": False})
    except TimeoutError:
        raise UnavailableError(
            f"one request took more than {timeout_s:g} s; raise --timeout, or ask for shorter "
            "answers"
        ) from None


async def _run_models(client: EndpointClient) -> tuple[Any, float]:
    body = {"input": {"openai_route": "/v1/models", "openai_input": {}}}
    job = await client.call("POST", "/run", body)
    while job.get("status") not in OVER:
        await asyncio.sleep(POLL_S)
        job = await client.call("GET", f"/status/{job['id']}")
    if job["status"] != "COMPLETED":
        reason = shorten(str(job.get("error", "no reason given")), SUMMARY_CHARS)
        raise UnavailableError(f"the first job ended as {job['status']}: {reason}")
    output = job.get("output")
    if isinstance(output, list) and output:
        output = output[0]
    return output, float(job.get("delayTime", 0)) / 1000


class RejectedError(WorkerError):
    """The endpoint rejected a request."""


class EndpointClient(RunpodClient):
    """Client of an endpoint's own routes. Use it as an asynchronous context manager."""

    def __init__(self, base: str, key: str | None, timeout_s: float) -> None:
        self._base = base
        super().__init__(base, key, timeout_s)

    async def call(self, method: str, path: str, data: Any = None) -> Any:
        """Send one request and return the JSON of its answer.

        Raises:
            WorkerError: It was rejected or not answered; the message has the next step.
            TimeoutError: It was not answered in time.
        """
        url = self._base + path
        try:
            reply = await self._request(method, path, None if data is None else orjson.dumps(data))
        except aiohttp.ClientError as error:
            raise UnavailableError(
                f"{url} cannot be reached: {describe_no_response(error)}; start the endpoint, or "
                "check the address"
            ) from None
        # RunPod's OpenAI route can answer 200 for a job that failed.
        failed = isinstance(reply.data, dict) and isinstance(reply.data.get("error"), dict)
        if reply.status >= 300 or failed:
            raise _reject(url, reply)
        if isinstance(reply.data, str):
            raise UnavailableError(f"{url} answered without JSON; is it an OpenAI API?")
        return reply.data


def _reject(url: str, reply: Reply) -> WorkerError:
    host = urlsplit(url).hostname or ""
    variable = KEY_VARIABLE if host.endswith(RUNPOD_HOSTS) else CLIENT_KEY
    advice = {
        400: "the model takes no such request",
        401: f"set {variable} to a valid key of this endpoint",
        403: f"the key in {variable} has no permission for this endpoint",
        404: "check the URL: /v1 or /v2/ID belongs at its end",
        429: "the endpoint has too many requests already; measure it without other traffic",
    }.get(reply.status, "the endpoint's log has the reason")
    data = reply.data
    if isinstance(data, dict) and isinstance(data.get("error"), dict):
        data = data["error"]  # the form of OpenAI's errors
    error = UnavailableError if reply.status >= 500 else RejectedError
    return error(f"{url} answered {reply.status}: {describe_rejection(data)}; {advice}")


def _explain_timeout(target: Target, timeout_s: float) -> str:
    if target.queue_url is None:
        return f"{target.base_url} did not answer within {timeout_s:g} s; see the server's log"
    return (
        f"no worker of {target.queue_url} was ready within {timeout_s:g} s; see the endpoint's "
        "workers and logs, or raise --timeout"
    )


def _read_models(data: Any) -> tuple[Model, ...]:
    listed = data.get("data") if isinstance(data, dict) else None
    return tuple(
        Model(str(item["id"]), str(item.get("root") or item["id"]), item.get("max_model_len"))
        for item in (listed if isinstance(listed, list) else ())
        if isinstance(item, dict) and "id" in item
    )


def find_model(models: tuple[Model, ...], name: str | None) -> Model:
    """Return the model of a name, or the first.

    Raises:
        UsageError: The endpoint has none of this name.
    """
    if name is None:
        return models[0]
    names = [model.name for model in models]
    if name not in names:
        near = did_you_mean(suggest(name, names))
        raise UsageError(f"--model: the endpoint has no {name!r}; it has {', '.join(names)}.{near}")
    return models[names.index(name)]
