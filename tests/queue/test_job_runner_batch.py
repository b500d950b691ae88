"""A job of a batch: only its result is posted."""

import pytest

from worker_tools.dev.job import JobRequest, JobStatus

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("batch_id", "posts"), [(None, ["stream", "stream", "done"]), ("batch_1", ["done"])]
)
async def test_outputs_of_a_batch_job_are_in_its_result_only(queue, batch_id, posts):
    request = JobRequest(
        {"outputs": ["a", "b"]},
        sync=False,
        execution_timeout_ms=60_000,
        ttl_ms=60_000,
        retention_s=60,
        batch_id=batch_id,
    )
    job = queue.endpoint.store.submit(request)
    assert await job.finished(15)
    assert (job.status, job.output) == (JobStatus.COMPLETED, ["a", "b"])
    assert [post.operation for post in job.metrics.posts] == posts
