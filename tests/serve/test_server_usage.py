"""Usage records over HTTP: in the log, and in a header of a whole answer."""

from __future__ import annotations

import json
import logging

import pytest

from tests.fakes.engine import BODY, CHAT, DONE, EVENT, REPLY, STREAM, say, stream
from worker.usage import HEADER, LOG_PREFIX, UsageMeter

COUNTED = {**REPLY, "id": "chatcmpl-1", "model": "tiny"}
COUNTED["usage"] = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
USAGE_EVENT = (
    b'data: {"id":"chatcmpl-2","model":"tiny","choices":[],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}\n\n'
)


@pytest.fixture
async def metered(harness):
    await harness.open()
    harness.begin(meter=UsageMeter(1, "served", 0.001))
    return harness


def records(caplog):
    lines = [each.getMessage() for each in caplog.records if LOG_PREFIX in each.getMessage()]
    return [json.loads(line.removeprefix(LOG_PREFIX)) for line in lines]


async def post(harness, path, body):
    async with harness.request("POST", path, json=body) as response:
        return response.status, response.headers.get(HEADER), await response.read()


async def test_whole_answer_has_its_record_in_a_header_and_in_the_log(metered, caplog):
    caplog.set_level(logging.INFO)
    metered.engine.answer = say(COUNTED)
    status, header, body = await post(metered, CHAT, BODY)
    assert (status, json.loads(body)) == (200, COUNTED)
    record = json.loads(header)
    assert record["id"] == "chatcmpl-1"
    assert record["model"] == "tiny"
    assert (record["tokens"]["input"], record["tokens"]["output"]) == (5, 7)
    assert record["usd"] == pytest.approx(record["gpu_s"] * 0.001, abs=1e-8)
    assert records(caplog) == [record]


async def test_stream_has_its_record_in_the_log(metered, caplog):
    caplog.set_level(logging.INFO)
    metered.engine.answer = stream(EVENT, USAGE_EVENT, DONE)
    status, header, body = await post(metered, CHAT, STREAM)
    assert (status, header, body) == (200, None, b"".join([EVENT, USAGE_EVENT, DONE]))
    [record] = records(caplog)
    assert (record["id"], record["tokens"]["input"], record["tokens"]["output"]) == (
        "chatcmpl-2",
        3,
        4,
    )
    assert 0 <= record["first_token_s"] <= record["total_s"]


async def test_stream_without_usage_has_a_record_without_tokens(metered, caplog):
    caplog.set_level(logging.INFO)
    metered.engine.answer = stream(EVENT, DONE)
    await post(metered, CHAT, STREAM)
    [record] = records(caplog)
    assert set(record["tokens"].values()) == {None}


@pytest.mark.parametrize(
    ("job_input", "answer"),
    [
        pytest.param({"messages": BODY["messages"]}, say(COUNTED), id="native"),
        pytest.param({"openai_route": CHAT, "openai_input": BODY}, say(COUNTED), id="openai"),
        pytest.param(
            {"custom_id": "1", "method": "POST", "url": CHAT, "body": BODY}, say(COUNTED), id="line"
        ),
    ],
)
async def test_job_has_its_record_in_a_header_and_in_the_log(metered, caplog, job_input, answer):
    caplog.set_level(logging.INFO)
    metered.engine.answer = answer
    status, header, body = await post(metered, "/runsync", {"input": job_input})
    assert status == 200
    [record] = records(caplog)
    assert json.loads(header) == record
    assert record["id"] == json.loads(body)["id"]
    assert (record["tokens"]["input"], record["tokens"]["output"]) == (5, 7)
    assert record["usd"] == pytest.approx(record["gpu_s"] * 0.001, abs=1e-8)


@pytest.mark.parametrize(
    "job_input",
    [
        pytest.param({"messages": BODY["messages"], "stream": True}, id="native"),
        pytest.param({"openai_route": CHAT, "openai_input": STREAM}, id="openai"),
    ],
)
async def test_streamed_job_has_its_record_in_the_log(metered, caplog, job_input):
    caplog.set_level(logging.INFO)
    metered.engine.answer = stream(EVENT, USAGE_EVENT, DONE)
    status, header, _ = await post(metered, "/runsync", {"input": job_input})
    assert (status, header) == (200, None)
    [record] = records(caplog)
    assert (record["tokens"]["input"], record["tokens"]["output"]) == (3, 4)
    assert 0 <= record["first_token_s"] <= record["total_s"]


async def test_failed_job_has_no_record_and_counts_as_ended(metered, caplog):
    caplog.set_level(logging.INFO)
    metered.engine.answer = say({"error": {"message": "no", "code": 400}}, status=400)
    job = {"input": {"messages": BODY["messages"]}}
    assert (await post(metered, "/runsync", job))[0] == 400
    assert records(caplog) == []
    metered.engine.answer = say(COUNTED)
    _, header, _ = await post(metered, "/runsync", job)
    record = json.loads(header)
    # No other request shares the GPU.
    assert record["gpu_s"] == pytest.approx(record["total_s"], rel=0.5)


@pytest.mark.parametrize(
    ("path", "body"), [(CHAT, BODY), ("/runsync", {"input": {"messages": BODY["messages"]}})]
)
async def test_without_the_setting_there_is_no_record(ready, caplog, path, body):
    caplog.set_level(logging.INFO)
    ready.engine.answer = say(COUNTED)
    status, header, _ = await post(ready, path, body)
    assert (status, header) == (200, None)
    assert records(caplog) == []
