"""Jobs that cannot be decoded, and results that the platform refuses."""

import orjson
import pytest

from tests.support.queue_deployment import error_of
from worker.request.codes import Code
from worker_tools.dev import Fault
from worker_tools.dev.job import JobStatus

pytestmark = pytest.mark.asyncio(loop_scope="module")


DEEP = b'{"prompt": %s%s}' % (b"[" * 1200, b"]" * 1200)


@pytest.mark.parametrize(
    ("raw", "code", "param"),
    [
        pytest.param(DEEP, Code.INPUT_TOO_DEEP, "prompt", id="deep"),
        pytest.param(
            b'{"prompt": "a", "sampling_params": {"seed": %s}}' % (b"7" * 5000),
            Code.INVALID_JSON_VALUE,
            "sampling_params.seed",
            id="long-integer",
        ),
        pytest.param(b'{"prompt": "a\xff"}', Code.INVALID_JSON_VALUE, "prompt", id="not-utf-8"),
        pytest.param(b'{"prompt": "\\ud800"}', Code.INVALID_JSON_VALUE, "prompt", id="surrogate"),
        pytest.param(b'{"prompt": 1e999}', Code.INVALID_JSON_VALUE, "prompt", id="huge-float"),
        pytest.param(b'{"prompt": }', Code.INVALID_JSON_VALUE, None, id="broken-syntax"),
        pytest.param(b'"text"', Code.INVALID_JOB_INPUT, None, id="not-an-object"),
    ],
)
async def test_job_that_cannot_be_decoded_fails_and_the_rest_of_its_take_is_answered(
    queue, raw, code, param
):
    # Submitted without a pause: one fetch brings them all.
    first = [queue.submit(outputs=[number]) for number in range(3)]
    bad = queue.submit_input(orjson.Fragment(raw))
    last = [queue.submit(outputs=[number]) for number in range(3, 5)]
    for job in (*first, bad, *last):
        assert await job.finished(15), job.status
    assert [job.output for job in (*first, *last)] == [[number] for number in range(5)]
    assert bad.status is JobStatus.FAILED
    error = error_of(bad)
    assert (error["code"], error["param"]) == (code, param)
    outcome = f"Failed with {code}" + (f" at {param}" if param else "")
    await queue.wait_for(
        lambda: any(bad.id in line and f"{outcome} (raised in" in line for line in queue.lines)
    )


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"[" * 2000 + b"]" * 2000, id="deep"),
        pytest.param(b'[{"id": "\xff", "input": {}}]', id="id-is-not-utf-8"),
        pytest.param(b'[{"id": %s, "input": {}}]' % (b"7" * 5000), id="id-is-a-long-integer"),
        pytest.param(b'{"id": ', id="cut-off"),
        pytest.param(b'"text"', id="text"),
        pytest.param(b"7", id="number"),
        pytest.param(b"null", id="null"),
        pytest.param(b"{}", id="empty-object"),
        pytest.param(b"\xff", id="not-utf-8"),
    ],
)
async def test_take_without_a_usable_job_is_survived(queue, body):
    queue.endpoint.faults.add(Fault("take", body=body))
    jobs = [await queue.run(outputs=[number]) for number in range(2)]
    assert [job.output for job in jobs] == [[0], [1]]


@pytest.mark.parametrize("status", [400, 401, 403, 413, 422])
async def test_result_that_is_refused_fails_the_job_with_an_error(queue, status):
    queue.endpoint.faults.add(Fault("done", status=status))
    job = await queue.run(outputs=["a"])
    assert job.status is JobStatus.FAILED
    error = error_of(job)
    assert error["code"] == Code.RESULT_REFUSED
    assert str(status) in error["message"]
    assert [post.operation for post in job.metrics.posts] == ["stream", "done"]
    failed = f"Failed with {Code.RESULT_REFUSED}"
    await queue.wait_for(lambda: any(job.id in line and failed in line for line in queue.lines))
    assert not any(job.id in line and "Finished" in line for line in queue.lines)


@pytest.mark.parametrize(("status", "posts"), [(400, 2), (404, 1), (410, 1)])
async def test_result_that_is_refused_again_is_posted_no_more(queue, status, posts):
    calls = []
    queue.endpoint.faults.add(
        Fault("done", status=status, calls=None, when=lambda call: not calls.append(call))
    )
    job = queue.submit(outputs=["a"])
    failed = f"Failed with {Code.RESULT_REFUSED}"
    await queue.wait_for(lambda: any(job.id in line and failed in line for line in queue.lines))
    assert len(calls) == posts
    assert job.status is JobStatus.IN_PROGRESS
    queue.endpoint.store.cancel(job)
