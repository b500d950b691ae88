"""The usage record of a job that the real engine answered."""

import json

import pytest

from tests.support.output import wait_for_line
from worker.usage import LOG_PREFIX

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def find_record(output, job_id):
    line = await wait_for_line(output, LOG_PREFIX, job_id)
    return json.loads(json.loads(line)["message"].removeprefix(LOG_PREFIX))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_native_job_has_a_usage_record(api, worker_output, stream):
    prompt = "A prompt that nobody may read in the log."
    params = {"max_tokens": 5, "ignore_eos": True}
    job_input = {"prompt": prompt, "stream": stream, "sampling_params": params}
    answer = await api.runsync(job_input)
    usage = answer["output"][-1]["usage"]
    record = await find_record(worker_output, answer["id"])
    assert record["model"] == "tiny"
    assert record["tokens"]["output"] == usage["output"] == 5
    assert record["tokens"]["input"] == usage["input"] > 0
    assert 0 < record["gpu_s"] <= record["total_s"]
    assert record["first_token_s"] <= record["total_s"]
    assert prompt not in "".join(worker_output)


async def test_batch_line_has_a_usage_record(api, worker_output):
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3, "ignore_eos": True}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body}
    answer = await api.runsync(line)
    assert answer["output"][0]["response"]["status_code"] == 200
    record = await find_record(worker_output, answer["id"])
    assert record["tokens"]["output"] == 3
