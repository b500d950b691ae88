"""RunPod's SDK on the native API: `run_sync`, `run`, streams, and how to see an error."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import runpod
from conftest import ANSWER

INPUT = {
    "prompt": "The capital of France is",
    "sampling_params": {"max_tokens": 8, "temperature": 0},
}
REFUSED = {"prompt": "x", "sampling_params": {"max_tokens": "many"}}
PAGE = Path(__file__).parents[2] / "docs" / "clients.md"


@pytest.fixture
def sdk(endpoint):
    return runpod.Endpoint(endpoint.url.rpartition("/")[2], api_key="local")


def text_of(output):
    return "".join(output[0]["choices"][0]["tokens"])


def test_run_sync_returns_the_output(sdk):
    assert ANSWER in text_of(sdk.run_sync(INPUT))


def test_run_returns_a_job(sdk):
    job = sdk.run(INPUT)
    assert ANSWER in text_of(job.output(timeout=60))
    assert job.status() == "COMPLETED"


def test_job_is_streamed(sdk):
    chunks = list(sdk.run({**INPUT, "stream": True}).stream())
    assert ANSWER in "".join(text_of([chunk]) for chunk in chunks)


def test_run_sync_of_a_refused_request_is_none(sdk):
    assert sdk.run_sync(REFUSED) is None


def test_page_shows_how_to_see_the_error(sdk, capsys):
    [block] = re.findall(r"```python\n(.*?runsync.*?)```", PAGE.read_text(), re.S)
    name = sdk.endpoint_id
    code = block.replace("ENDPOINT_ID", name).replace('os.environ["RUNPOD_API_KEY"]', '"local"')
    exec(code, {})
    error = json.loads(capsys.readouterr().out)
    assert error["code"] == "invalid_parameter"
    assert error["param"] == "sampling_params.max_tokens"
