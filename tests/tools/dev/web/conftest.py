"""A console over an endpoint without workers; the tests play the worker."""

import asyncio
import contextlib
import json
import os

import pytest

from worker_tools.dev.deployment import LocalDeployment
from worker_tools.dev.web import Console
from worker_tools.dev.web.output_log import OutputLog

ENVIRON = {
    "MODEL_NAME": "Qwen/Qwen3-8B",
    "HF_TOKEN": "hf_secretsecretsecret",
    **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
}


class Page:
    """Calls the console's API as its page does."""

    def __init__(self, console, api):
        self.console = console
        self.api = api
        self.endpoint = console.deployment.endpoint
        self.origin = f"http://127.0.0.1:{self.endpoint.port}"

    async def get(self, path, **options):
        return await self._call("GET", path, **options)

    async def post(self, path, body, **options):
        return await self._call("POST", path, json=body, **options)

    async def _call(self, method, path, **options):
        url = f"{self.origin}/console/api/{path}"
        async with self.api.session.request(method, url, **options) as answer:
            return answer.status, await answer.json()

    @contextlib.asynccontextmanager
    async def events(self, path="events", **options):
        """Yield a function that returns the next event as (name, data)."""
        url = f"{self.origin}/console/api/{path}"
        async with self.api.session.get(url, **options) as answer:

            async def read(wanted=None):
                name = None
                async with asyncio.timeout(10):
                    async for line in answer.content:
                        if line.startswith(b"event: "):
                            name = line[7:].decode().strip()
                        elif line.startswith(b"data: ") and wanted in (None, name):
                            return name, json.loads(line[6:])
                raise AssertionError("the stream has ended")

            yield read


@pytest.fixture
async def page(session, connect):
    deployment = LocalDeployment(environ=ENVIRON, workers=0)
    console = Console(deployment, OutputLog())
    async with console, deployment:
        yield Page(console, connect(deployment.endpoint, session))
