"""A server that lists models, and the fake of vLLM's client."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.fakes.loopback_server import LoopbackServer

CLIENT = Path(__file__).parents[2] / "fakes" / "vllm_client"
MODELS = {"data": [{"id": "tiny", "root": "/models/tiny", "max_model_len": 2048}, {"id": "other"}]}
KEY = "sk-of-this-test"


class Handler(BaseHTTPRequestHandler):
    """RunPod's operations, OpenAI's list of models, and some servers that are none."""

    health: ClassVar[dict[str, int]]
    seen: ClassVar[list[str]]

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if b"too long" in body:
            self.path = "/rejected"
        self.answer()

    def answer(self) -> None:
        self.seen.append(self.headers.get("Authorization", ""))
        status, body = self.choose()
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def choose(self) -> tuple[int, str]:
        routes: dict[str, tuple[int, Any]] = {
            "/v1/models": (200, MODELS),
            "/v1/completions": (200, {"choices": []}),
            "/v1/chat/completions": (200, {"choices": []}),
            "/v2/cold/openai/v1/completions": (200, {"choices": []}),
            "/rejected": (400, {"error": {"message": "90000 tokens are too many"}}),
            "/empty/v1/models": (200, {"data": []}),
            "/locked/v1/models": (401, {"error": {"message": "invalid key"}}),
            "/v2/cold/health": (200, {"workers": self.health}),
            "/v2/cold/run": (200, {"id": "job-1", "status": "IN_QUEUE"}),
            "/v2/cold/status/job-1": (
                200,
                {"id": "job-1", "status": "COMPLETED", "delayTime": 41_000, "output": [MODELS]},
            ),
            "/v2/broken/health": (200, {"workers": {"ready": 1}}),
            "/v2/broken/run": (200, {"id": "job-2", "status": "FAILED", "error": "out of memory"}),
            "/v2/starting/health": (200, {"workers": {"initializing": 1}}),
            "/v2/starting/run": (200, {"id": "job-3", "status": "IN_QUEUE"}),
            "/v2/starting/status/job-3": (200, {"id": "job-3", "status": "IN_QUEUE"}),
        }
        if self.path == "/page/v1/models":
            return 200, "<html>"
        status, data = routes.get(self.path, (404, {"detail": "Not Found"}))
        return status, json.dumps(data)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    Handler.health, Handler.seen = {"idle": 1}, []
    running = LoopbackServer(Handler)
    yield running.url
    running.close()


@pytest.fixture
def requests_seen(server: str) -> list[str]:
    """The header `Authorization` of each request."""
    return Handler.seen


@pytest.fixture
def set_health(server: str) -> Any:
    def set_states(**states: int) -> None:
        Handler.health = states

    return set_states


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment in which the load comes from the fake."""
    bin_folder = str(Path(sys.executable).parent)
    return {
        "PATH": f"{bin_folder}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(CLIENT),
    }
