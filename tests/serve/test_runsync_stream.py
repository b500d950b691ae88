"""Whether `POST /runsync` streams depends on the parsed job, and a refused job keeps its status."""

from __future__ import annotations

import json

import pytest

from tests.fakes.engine import BODY, CHAT, DONE, EVENT, code_of, say, stream
from worker.request import Code

MESSAGES = {"messages": BODY["messages"]}


@pytest.mark.parametrize(
    "job_input",
    [
        pytest.param(
            {"openai_route": CHAT, "openai_input": {**MESSAGES, "extra_body": {"stream": True}}},
            id="extra-body",
        ),
        pytest.param(
            {"openai_route": CHAT, "openai_input": json.dumps({**MESSAGES, "stream": True})},
            id="text",
        ),
        pytest.param({"route": CHAT, "body": {**MESSAGES, "stream": True}}, id="route-and-body"),
    ],
)
async def test_runsync_streams_wherever_the_job_requests_it(ready, job_input):
    ready.engine.answer = stream(EVENT, DONE)
    async with ready.request("POST", "/runsync", json={"input": job_input}) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        assert await response.read() == EVENT + DONE


async def test_runsync_with_stream_in_an_unrelated_object_is_collected(ready):
    ready.engine.answer = say({"choices": []})
    body = {**MESSAGES, "metadata": {"stream": True}}
    job_input = {"openai_route": CHAT, "openai_input": body}
    status, result = await ready.ask("POST", "/runsync", json={"input": job_input})
    assert (status, result["status"]) == (200, "COMPLETED")


async def test_runsync_stream_that_is_refused_keeps_its_status(ready):
    body = {**MESSAGES, "stream": True, "temprature": 1}
    job_input = {"openai_route": CHAT, "openai_input": body}
    status, error = await ready.ask("POST", "/runsync", json={"input": job_input})
    assert (status, code_of(error)) == (400, Code.UNKNOWN_PARAMETER)


async def test_runsync_stream_that_vllm_refuses_keeps_its_status(ready):
    ready.engine.answer = say({"error": {"message": "no", "code": 400}}, status=400)
    job_input = {"openai_route": CHAT, "openai_input": {**MESSAGES, "stream": True}}
    assert (await ready.ask("POST", "/runsync", json={"input": job_input}))[0] == 400


async def test_runsync_stream_of_another_api_fails_in_its_form(ready):
    ready.engine.answer = stream(
        b'event: message_start\ndata: {"type": "message_start"}\n\n', cut=True
    )
    body = {**MESSAGES, "max_tokens": 5, "stream": True}
    job_input = {"openai_route": "/v1/messages", "openai_input": body}
    _status, text = await ready.ask("POST", "/runsync", json={"input": job_input})
    assert text.split(b"\n\n")[1].startswith(b"event: error\n")
