"""A refused job reports its error in the stream exactly if its client reads a stream."""

import json

import pytest

from tests.fakes.engine import CHAT, DONE, say, stream
from tests.support.handler import CHUNKS, MESSAGES, error_event_of, error_of, native, open_benches
from worker.request import Code

MISSPELT = {"model": "tiny", "messages": MESSAGES, "temprature": 1}


@pytest.fixture
async def build(tmp_path):
    async with open_benches(tmp_path) as build_one:
        yield build_one


def gateway(body: object, route: str = CHAT) -> dict[str, object]:
    return {"openai_route": route, "openai_input": body}


STREAMS = [
    pytest.param(gateway({**MISSPELT, "stream": True}), id="stream"),
    pytest.param(gateway({**MISSPELT, "extra_body": {"stream": True}}), id="extra-body"),
    pytest.param(gateway({**MISSPELT, "options": {"stream": True}}), id="options"),
    pytest.param(gateway(json.dumps({**MISSPELT, "stream": True})), id="text"),
    pytest.param(gateway({**MISSPELT, "stream": True}, "/v1/chat/completion"), id="unknown-route"),
    pytest.param({"route": CHAT, "body": {**MISSPELT, "stream": True}}, id="route-and-body"),
    pytest.param({**MISSPELT, "temperature": 3e9, "top_p": 1, "stream": True}, id="openai-body"),
    pytest.param(
        gateway({**MISSPELT, "temprature": float("nan"), "stream": True}), id="not-json-value"
    ),
]

NOT_STREAMS = [
    pytest.param(gateway(MISSPELT), id="no-stream"),
    pytest.param(gateway({**MISSPELT, "stream": False}), id="stream-false"),
    pytest.param(gateway({**MISSPELT, "metadata": {"stream": True}}), id="stream-in-metadata"),
    pytest.param(gateway('{"stream": true'), id="text-not-json"),
    pytest.param({"route": CHAT, "body": MISSPELT}, id="route-and-body"),
    pytest.param(native(temprature=1), id="native"),
]


@pytest.mark.parametrize("job_input", STREAMS)
async def test_refused_job_with_stream_reports_its_error_in_the_stream(build, job_input):
    bench = await build(say({}))
    *events, last = await bench.run(job_input)
    assert [error_event_of(event) for event in events] == [error_of(last)]
    assert bench.engine.asked == []


@pytest.mark.parametrize("job_input", NOT_STREAMS)
async def test_refused_job_without_stream_has_one_output(build, job_input):
    bench = await build(say({}))
    [output] = await bench.run(job_input)
    assert error_of(output)["code"] != Code.INTERNAL_ERROR
    assert bench.engine.asked == []


async def test_job_with_stream_in_extra_body_is_streamed(build):
    bench = await build(stream(*CHUNKS, DONE))
    body = {"messages": MESSAGES, "extra_body": {"stream": True}}
    assert "".join(await bench.run(gateway(body))).encode() == b"".join(CHUNKS) + DONE
