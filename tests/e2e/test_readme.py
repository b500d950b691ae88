"""The requests of README and guides, as they are printed there, against the suite's endpoint."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from tests.e2e.support.deployment import MODEL
from tests.support.markdown import README, Block, read_blocks
from worker_tools.dev import LocalDeployment

pytestmark = pytest.mark.asyncio(loop_scope="session")

INTERPRETERS = {"bash": ["bash", "-euc"], "python": [sys.executable, "-c"]}
GUIDES = [
    README.parent / "docs" / f"{name}.md" for name in ("deployment", "structured-outputs", "tools")
]
REQUESTS = [block for path in (README, *GUIDES) for block in read_blocks(path) if block.is_request]


@pytest.mark.parametrize("block", REQUESTS, ids=lambda block: f"line-{block.line}-{block.language}")
async def test_request_is_answered(deployment: LocalDeployment, block: Block) -> None:
    await run_request(block, deployment.endpoint.url)


async def run_request(block: Block, url: str) -> None:
    """Send the request of a page to the endpoint at `url`."""
    program = block.aim(url, MODEL).replace("curl ", "curl -fsS ")
    process = await asyncio.create_subprocess_exec(
        *INTERPRETERS[block.language],
        program,
        env={**os.environ, "RUNPOD_API_KEY": "local"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert out.strip(), "no answer"
    assert b"FAILED" not in out
