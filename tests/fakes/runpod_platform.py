"""RunPod, where the local endpoint of `worker dev` cannot stand for it.

`RunpodApi` is the REST API v2 on loopback: it lists and creates endpoints, by the published shapes.
`JobQueue` and `JobRunner` give the job loop its jobs and take its results without a network.
A module named `runpod` would hide the SDK from the fake worker, which has this folder on its path.
"""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from tests.fakes.loopback_server import LoopbackServer

SCHEMA = Path(__file__).parents[1] / "tools/deploy/create_endpoint.yaml"
VALIDATOR = jsonschema.Draft202012Validator(yaml.safe_load(SCHEMA.read_text(encoding="utf-8")))
ENDPOINTS = "/v2/serverless"
KEY = "rpa_CANARY0123456789abcdefghijklmnop"


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one method.

    Attributes:
        status: Answer with it; None gives no answer and closes the connection.
        body: Of the answer.
        headers: Of the answer.
        carried_out: Whether an endpoint is created nevertheless.
        hangs: Whether the connection stays open without an answer.
        after: Requests that are answered before it goes wrong.
    """

    status: int | None = None
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()
    carried_out: bool = False
    hangs: bool = False
    after: int = 0


@dataclass
class RunpodApi:
    """An account: its objects, the requests to it, and the faults to inject.

    Attributes:
        endpoints: What exists.
        faults: By method.
        asked: Method, path, headers and body of every request.
    """

    endpoints: list[dict[str, Any]] = field(default_factory=list)
    faults: dict[str, Fault] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    url: str = ""

    def __enter__(self) -> RunpodApi:
        api = self

        class Handler(_Handler):
            account = api

        self.released = threading.Event()
        self._server = LoopbackServer(Handler)
        self.url = self._server.url
        return self

    def __exit__(self, *_exception: object) -> None:
        self.released.set()
        self._server.close()

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a user of this account."""
        return {"RUNPOD_API_KEY": KEY, "RUNPOD_API_BASE_URL": self.url}

    def bodies(self) -> list[Any]:
        """Return what was asked to be created."""
        return [body for method, _, _, body in self.asked if method == "POST"]

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """Add an endpoint and return it as the API shows it."""
        number = f"ep{len(self.endpoints)}x2k9q"
        if body["type"] == "LOAD_BALANCER":
            base = f"https://{number}.api.runpod.ai"
            urls = {"base": base, "health": f"{base}/ping"}
        else:
            base = f"https://api.runpod.ai/v2/{number}"
            urls = {"run": f"{base}/run", "runSync": f"{base}/runsync"}
        endpoint = {**body, "id": number, "requestUrls": urls, "createdAt": "2026-11-23T00:00:00Z"}
        self.endpoints.append(endpoint)
        return endpoint


class _Handler(BaseHTTPRequestHandler):
    account: RunpodApi

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer("GET", None)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self._answer("POST", json.loads(self.rfile.read(length)))

    def _answer(self, method: str, body: Any) -> None:
        account = self.account
        before = sum(1 for asked, *_ in account.asked if asked == method)
        account.asked.append((method, self.path, dict(self.headers), body))
        fault = account.faults.get(method)
        if fault is not None and before >= fault.after:
            if fault.carried_out:
                account.create(body)
            if fault.hangs:
                account.released.wait(10)
            if fault.status is not None:
                self._send(fault.status, fault.body, fault.headers)
            return
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            self._problem(401, "Unauthorized", "missing bearer token")
        elif self.path != ENDPOINTS:
            self._problem(404, "Not Found", "resource not found")
        elif method == "GET":
            self._send(200, {"endpoints": account.endpoints})
        elif errors := [f"{e.json_path}: {e.message}" for e in VALIDATOR.iter_errors(body)]:
            self._problem(422, "Unprocessable Entity", "Request validation failed.", errors)
        else:
            self._send(201, account.create(body))

    def _problem(
        self, status: int, title: str, detail: str, errors: list[str] | None = None
    ) -> None:
        body: dict[str, Any] = {"title": title, "status": status, "detail": detail}
        self._send(status, body if errors is None else {**body, "errors": errors})

    def _send(self, status: int, body: Any, headers: tuple[tuple[str, str], ...] = ()) -> None:
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class JobQueue:
    """Returns the answers of a test, one per fetch.

    Attributes:
        asked: How many jobs each fetch asked for.
    """

    def __init__(self) -> None:
        self.asked: list[int] = []
        self._answers: asyncio.Queue[Any] = asyncio.Queue()

    def give(self, *answers: Any) -> None:
        """Answer the next fetches; an exception is raised."""
        for answer in answers:
            self._answers.put_nowait(answer)

    async def fetch(self, _session: Any, count: int) -> Any:
        """Stand for the SDK's `jobs_fetcher`."""
        self.asked.append(count)
        answer = await self._answers.get()
        try:
            if isinstance(answer, BaseException):
                raise answer
            return answer
        finally:
            del answer  # An error that its own traceback leads to would be in a cycle.


class JobRunner:
    """Stores results by job instead of posting them."""

    def __init__(self, results: dict[str, Any] | None = None) -> None:
        self.results = {} if results is None else results

    async def run(self, handler: Any, job: Any, stats: Any) -> dict[str, Any]:
        """Return what the handler yields."""
        outputs = [output async for output in handler(job)]
        stats.record_post(1)
        return {"output": outputs}

    async def report_result(self, job_id: str, result: Any) -> Any:
        """Store a result."""
        self.results[job_id] = result
        return result
