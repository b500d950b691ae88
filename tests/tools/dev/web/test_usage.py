"""Token counts in each form of a result."""

import pytest

from worker_tools.dev.job import Job, JobRequest
from worker_tools.dev.web.usage import Usage, find_usage

OPENAI = {"usage": {"prompt_tokens": 3, "completion_tokens": 5}}
EVENT = 'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}\n\n'


@pytest.mark.parametrize(
    ("output", "chunks", "usage"),
    [
        pytest.param([OPENAI], [], Usage(3, 5), id="openai"),
        pytest.param(OPENAI, [], Usage(3, 5), id="one-object"),
        pytest.param(
            [{"usage": {"input": 1, "output": 2}}, {"usage": {"input": 1, "output": 9}}],
            [],
            Usage(1, 9),
            id="native-stream",
        ),
        pytest.param(["data: {}\n\n", EVENT, "data: [DONE]\n\n"], [], Usage(3, 5), id="events"),
        pytest.param(None, [EVENT + "data: [DONE]\n\n"], Usage(3, 5), id="cancelled-stream"),
        pytest.param([[{"a": 1}, OPENAI]], [], Usage(3, 5), id="list-of-events"),
        pytest.param(["text"], [], Usage(), id="none"),
        pytest.param(None, [], Usage(), id="nothing"),
        pytest.param(['data: {"usage":{ broken\n\n'], [], Usage(), id="broken"),
        pytest.param([{"usage": {"prompt_tokens": "3"}}], [], Usage(), id="no-number"),
        pytest.param([{"usage": {"prompt_tokens": 3}}], [], Usage(3, None), id="embeddings"),
    ],
)
async def test_find_usage_reads_the_counts(output, chunks, usage):
    job = Job(JobRequest({}, False, 1, 1, 1.0))
    job.output, job.chunks = output, chunks
    assert find_usage(job) == usage
