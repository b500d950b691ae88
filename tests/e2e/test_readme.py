"""The README's requests, as they stand there, against the suite's deployment."""

from __future__ import annotations

import asyncio
import sys

import pytest
from readme_blocks import Block, read_blocks
from served import MODEL

from worker.dev import LocalDeployment

pytestmark = pytest.mark.asyncio(loop_scope="session")

INTERPRETERS = {"bash": ["bash", "-euc"], "python": [sys.executable, "-c"]}
REQUESTS = [block for block in read_blocks() if block.is_request]


@pytest.mark.parametrize("block", REQUESTS, ids=lambda block: f"line-{block.line}-{block.language}")
async def test_request_is_answered(deployment: LocalDeployment, block: Block) -> None:
    program = block.aim(deployment.endpoint.url, MODEL).replace("curl ", "curl -fsS ")
    process = await asyncio.create_subprocess_exec(
        *INTERPRETERS[block.language],
        program,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert out.strip(), "no answer"
    assert b"FAILED" not in out
