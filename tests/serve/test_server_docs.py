"""The requests that docs/deployment.md shows for a pod, as they stand there."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.fakes.engine import REPLY, say
from tests.support.markdown import read_blocks

KEY = "sk-worker-key"
LOCAL_URL = "http://127.0.0.1:8000/"
BLOCKS = [
    block
    for block in read_blocks(Path(__file__).parents[2] / "docs" / "deployment.md")
    if LOCAL_URL in block.text
]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"line-{block.line}")
async def test_requests_to_a_pod_are_answered(harness, block):
    await harness.open(api_key=KEY)
    harness.begin()
    harness.engine.answer = say(REPLY)
    aimed = block.text.replace(LOCAL_URL, f"http://127.0.0.1:{harness.port}/")
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euc", aimed.replace("curl ", "curl -fsS ")),
        env={**os.environ, "WORKER_API_KEY": KEY},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert b"ready" in out
    assert b"Hi" in out
