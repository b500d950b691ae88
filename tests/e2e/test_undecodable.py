"""Jobs whose input cannot be decoded, in one take with jobs that can."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from tests.support.output import wait_for_line
from worker_tools.dev import LocalDeployment
from worker_tools.dev.job import Job, JobRequest, JobStatus

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRET = b"canary9canary9"

BAD = {
    "deep": (b'{"prompt": [%s%s]}' % (b"[" * 1200, b"]" * 1200), "input_too_deep", "prompt"),
    "long-integer": (
        b'{"prompt": "%s", "sampling_params": {"seed": %s}}' % (SECRET, b"7" * 5000),
        "invalid_json_value",
        "sampling_params.seed",
    ),
    "not-utf-8": (b'{"prompt": "%s\xff"}' % SECRET, "invalid_json_value", "prompt"),
    "broken-syntax": (b'{"prompt": "%s", }' % SECRET, "invalid_json_value", None),
}

GOOD = 5


def submit(deployment: LocalDeployment, job_input: Any) -> Job:
    request = JobRequest(
        job_input, sync=False, execution_timeout_ms=60_000, ttl_ms=60_000, retention_s=60
    )
    return deployment.endpoint.store.submit(request)


@pytest.mark.parametrize("name", BAD)
async def test_job_that_cannot_be_decoded_fails_and_its_take_is_answered(
    deployment: LocalDeployment, worker_output: list[str], name: str
) -> None:
    raw, code, param = BAD[name]
    good = {"prompt": "Once", "sampling_params": {"max_tokens": 3}}
    # Submitted without a pause: one fetch brings them all.
    jobs = [submit(deployment, good) for _ in range(GOOD // 2)]
    bad = submit(deployment, orjson.Fragment(raw))
    jobs += [submit(deployment, good) for _ in range(GOOD // 2, GOOD)]
    for job in (bad, *jobs):
        assert await job.finished(30), job.status
    assert {job.status for job in jobs} == {JobStatus.COMPLETED}
    assert bad.status is JobStatus.FAILED
    error = json.loads(bad.error)["error"]
    assert (error["code"], error["param"]) == (code, param)
    await wait_for_line(worker_output, bad.id, f"Failed with {code}")
    assert SECRET.decode() not in "".join([*worker_output, bad.error])
