import asyncio

import orjson
import pytest
from aiohttp import web

from tests.fakes.engine import CHAT, DONE, say, stream
from tests.support.handler import CHUNKS, MESSAGES, REPLY, TEXTS, native, open_benches, openai


@pytest.fixture
async def build(tmp_path):
    async with open_benches(tmp_path) as build_one:
        yield build_one


async def test_openai_stream_passes_on_the_events_as_text(build):
    bench = await build(stream(*CHUNKS, DONE, pause_s=0.002))
    outputs = await bench.run(openai())
    assert "".join(outputs).encode() == b"".join([*CHUNKS, DONE])
    assert outputs[0].encode() == CHUNKS[0]
    assert all(output.endswith("\n\n") for output in outputs)


async def test_openai_stream_as_objects_if_set(build):
    bench = await build(stream(*CHUNKS, DONE, pause_s=0.002), raw_openai_output=False)
    outputs = await bench.run(openai())
    assert all(isinstance(output, list) and output for output in outputs)
    flat = [message for output in outputs for message in output]
    assert [message["choices"][0]["delta"]["content"] for message in flat] == TEXTS


async def test_openai_reply_is_the_engines(build):
    bench = await build(say(REPLY))
    assert await bench.run(openai(stream=False)) == [REPLY]
    [(method, path, body)] = bench.engine.asked
    assert (method, path, body["messages"]) == ("POST", CHAT, MESSAGES)
    assert "stream_interval" not in body


async def test_native_stream_gives_new_texts(build):
    bench = await build(stream(*CHUNKS, DONE, pause_s=0.002))
    outputs = await bench.run(native())
    texts = [text for output in outputs for text in output["choices"][0]["tokens"]]
    assert "".join(texts) == "".join(TEXTS)


async def test_native_job_gets_text_and_usage(build):
    bench = await build(say(REPLY))
    assert await bench.run(native(stream=False)) == [
        {
            "choices": [{"tokens": ["Hi"], "finish_reason": "stop"}],
            "usage": {"input": 3, "output": 1},
        }
    ]


@pytest.mark.parametrize(
    ("content_type", "body", "output"),
    [
        pytest.param("text/plain", "vllm:x 1 ü".encode(), "vllm:x 1 ü", id="text"),
        pytest.param(
            "audio/wav", b"\x00\xff", {"content_type": "audio/wav", "base64": "AP8="}, id="binary"
        ),
        pytest.param("application/json", b"[1,2]", [1, 2], id="json-list"),
        pytest.param("text/plain", b"\xff", "\ufffd", id="text-that-is-not-utf-8"),
    ],
)
async def test_reply_that_is_no_json_object_is_passed_on(build, content_type, body, output):
    async def answer(request):
        return web.Response(body=body, content_type=content_type)

    bench = await build(answer)
    assert await bench.run({"route": "/v1/models"}) == [output]


# What the engine is asked


@pytest.mark.parametrize(
    ("streams", "own", "interval"),
    [
        pytest.param(0, {}, 1, id="idle"),
        pytest.param(40, {}, 3, id="under-load"),
        pytest.param(40, {"stream_interval": 7}, 7, id="the-clients-own"),
    ],
)
@pytest.mark.parametrize("shape", [openai, native])
async def test_stream_interval_is_ours_unless_the_client_chose(
    build, streams, own, interval, shape
):
    if own and shape is native:
        own = {"sampling_params": own}
    bench = await build(stream(*CHUNKS, DONE))
    bench.stream_load.active += streams
    await bench.run(shape(**own))
    bench.stream_load.active -= streams
    assert bench.engine.asked[0][2]["stream_interval"] == interval


async def test_stream_interval_is_one_token_where_vllm_parses_the_answer(build):
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    bench = await build(stream(*CHUNKS, DONE))
    bench.stream_load.active += 40
    await bench.run(openai(tools=tools))
    bench.stream_load.active -= 40
    assert bench.engine.asked[0][2]["stream_interval"] == 1


async def test_stream_interval_of_jobs_that_came_together_counts_all_of_them(build):
    bench = await build(stream(*CHUNKS, DONE))
    await asyncio.gather(*(bench.run(openai()) for _ in range(40)))
    assert [body["stream_interval"] for _, _, body in bench.engine.asked] == [3] * 40


@pytest.mark.parametrize("shape", [openai, native])
async def test_stream_interval_is_no_larger_than_the_largest_chunk(build, shape):
    bench = await build(stream(*CHUNKS, DONE))
    bench.stream_load.active += 40
    await bench.run({**shape(), "max_batch_size": 2})
    bench.stream_load.active -= 40
    assert bench.engine.asked[0][2]["stream_interval"] == 2


async def test_stream_interval_is_not_sent_to_other_routes(build):
    bench = await build(stream(b"event: message_stop\ndata: {}\n\n"))
    await bench.run(openai(route="/v1/messages", max_tokens=5))
    assert "stream_interval" not in bench.engine.asked[0][2]


BATCH_LINE = {
    "custom_id": "r-1",
    "method": "POST",
    "url": CHAT,
    "body": {"messages": MESSAGES},
}


async def test_batch_line_is_answered_as_a_line_of_the_output_file(build):
    bench = await build(say(REPLY))
    [output] = await bench.run(BATCH_LINE)
    assert output["custom_id"] == "r-1"
    assert output["response"]["status_code"] == 200
    assert output["response"]["body"] == REPLY
    assert output["error"] is None


async def test_error_of_a_batch_line_has_its_custom_id(build):
    bench = await build(say(REPLY))
    [output] = await bench.run({**BATCH_LINE, "url": "/v1/nothing"})
    error = orjson.loads(output["error"])["error"]
    assert (error["custom_id"], error["code"]) == ("r-1", "unknown_route")
