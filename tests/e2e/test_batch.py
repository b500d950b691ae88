"""A file of requests through RunPod's batches and the real engine."""

import asyncio

import pytest

from benchmarks.batch_kills import run_with_kills

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_batch_killed_twice_answers_every_request_once(deployment, tmp_path):
    async with asyncio.timeout(120):
        report = await run_with_kills(deployment.endpoint, tmp_path, count=300, per_batch=120)
    assert (report.requests, report.kills) == (300, 2)
    assert (report.answered, report.failed) == (297, 3)
    assert "297 answered, 3 failed" in report.summary
