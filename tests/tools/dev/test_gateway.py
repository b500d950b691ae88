import asyncio
import json
from typing import Any

import aiohttp
import openai
import pytest

from worker_tools.dev import Limits
from worker_tools.dev.gateway import join_outputs

CHAT: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}


def ask(api, body, path="/chat/completions"):
    return asyncio.create_task(api.call("POST", "/openai/v1" + path, json=body))


async def test_gateway_submits_route_and_body_as_a_sync_job(api):
    waiting = ask(api, CHAT)
    job = await api.take()
    assert job["id"].startswith("sync-")
    assert job["input"] == {"openai_route": "/v1/chat/completions", "openai_input": CHAT}
    await api.done(job["id"], {"output": [{"id": "1"}]})
    assert await waiting == (200, {"id": "1"})


async def test_gateway_get_has_an_empty_input_and_loses_its_query(api):
    waiting = asyncio.create_task(api.call("GET", "/openai/v1/models?x=1"))
    job = await api.take()
    assert job["input"] == {"openai_route": "/v1/models", "openai_input": {}}
    await api.done(job["id"], {"output": [{"data": []}]})
    assert await waiting == (200, {"data": []})


@pytest.mark.parametrize(
    ("output", "kind", "text"),
    [
        pytest.param([{"a": 1}], "application/json", '{"a":1}', id="one-object"),
        pytest.param(['{"a": 1}'], "application/json", '{"a": 1}', id="json-as-text"),
        pytest.param(["plain"], "text/plain", "plain", id="text"),
        pytest.param(['{"a"', ": 1}"], "application/json", '{"a": 1}', id="text-in-chunks"),
        pytest.param([], "application/json", "[]", id="no-aggregate"),
        pytest.param({"a": 1}, "application/json", '{"a":1}', id="no-generator"),
        pytest.param([1, 2], "application/json", "[1,2]", id="several-values"),
    ],
)
async def test_gateway_body_without_stream(api, output, kind, text):
    job = None

    async def answer():
        nonlocal job
        job = await api.take()
        await api.done(job["id"], {"output": output})

    answering = asyncio.create_task(answer())
    url = api.endpoint.openai_url + "/completions"
    async with api.session.post(url, json={"stream": False}) as response:
        assert (response.status, response.content_type) == (200, kind)
        assert await response.text() == text
    await answering


@pytest.mark.parametrize(
    ("output", "joined"),
    [([], []), (["a", "b"], "ab"), (["a", 1], ["a", 1]), ("a", "a"), (None, None), ([[1]], [1])],
)
def test_join_outputs_unwraps_what_stands_for_one_body(output, joined):
    assert join_outputs(output) == joined


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "body"),
    [
        pytest.param("boom", {"error": "boom"}, id="text"),
        pytest.param('{"error": {"code": "x"}}', {"error": {"code": "x"}}, id="error-object"),
        pytest.param('{"code": "x"}', {"error": '{"code": "x"}'}, id="other-object"),
        pytest.param({"code": "x"}, {"error": {"code": "x"}}, id="json"),
    ],
)
async def test_gateway_failed_job_is_500_with_the_workers_error(api, stream, error, body):
    waiting = ask(api, {**CHAT, "stream": stream})
    job = await api.take()
    await api.done(job["id"], {"error": error})
    assert await waiting == (500, body)


async def test_gateway_cancelled_job_is_500(api):
    waiting = ask(api, CHAT)
    job = await api.take()
    await api.call("POST", f"/cancel/{job['id']}")
    assert await waiting == (500, {"error": "the job was cancelled"})


async def test_gateway_timed_out_job_is_504(start):
    api = await start(limits=Limits(execution_timeout_ms=30))
    waiting = ask(api, CHAT)
    await api.take()
    status, body = await waiting
    assert status == 504
    assert "30 ms" in body["error"]


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"{", "not valid JSON"), (b"[1]", "JSON object"), (b"--form", "not valid JSON")],
)
async def test_gateway_bad_body_is_400_and_makes_no_job(api, data, words):
    status, body = await api.call("POST", "/openai/v1/chat/completions", data=data)
    assert status == 400
    assert words in body["error"]
    assert api.endpoint.jobs == {}


async def test_gateway_stream_relays_each_chunk_as_it_arrives(api):
    asking = asyncio.create_task(
        api.session.post(
            api.endpoint.openai_url + "/chat/completions", json={**CHAT, "stream": True}
        )
    )
    job = await api.take()
    await asyncio.sleep(0.02)
    assert not asking.done()
    await api.stream(job["id"], 'data: {"n": 1}\n\n')
    response = await asking
    assert (response.status, response.content_type) == (200, "text/event-stream")
    assert await response.content.readany() == b'data: {"n": 1}\n\n'
    await api.stream(job["id"], "data: é🦙\n\ndata: [DONE]\n\n")
    assert (await response.content.readany()).decode() == "data: é🦙\n\ndata: [DONE]\n\n"
    await api.done(job["id"], {"output": []})
    assert await response.content.read() == b""
    response.release()


async def test_gateway_stream_of_objects_becomes_events(api):
    waiting = ask(api, {**CHAT, "stream": True})
    job = await api.take()
    await api.stream(job["id"], {"n": 1})
    await api.done(job["id"], {"output": [{"n": 1}]})
    assert await waiting == (200, 'data: {"n":1}\n\n')


async def test_gateway_stream_without_chunks_answers_the_result(api):
    waiting = ask(api, {**CHAT, "stream": True})
    job = await api.take()
    await api.done(job["id"], {"output": [{"n": 1}]})
    assert await waiting == (200, {"n": 1})


async def test_gateway_failure_mid_stream_is_an_error_event(api):
    waiting = ask(api, {**CHAT, "stream": True})
    job = await api.take()
    await api.stream(job["id"], "data: 1\n\n")
    await api.done(job["id"], {"error": "boom"})
    assert await waiting == (200, 'data: 1\n\ndata: {"error":"boom"}\n\n')


async def test_gateway_worker_lost_mid_stream_ends_the_stream_and_the_job(api):
    waiting = ask(api, {**CHAT, "stream": True})
    job = await api.take()
    await api.stream(job["id"], "data: 1\n\n")
    api.endpoint.store.lose_worker("w1")
    status, text = await waiting
    assert status == 200
    assert text.startswith("data: 1\n\n")
    assert "lost" in json.loads(text.split("data: ")[2])["error"]
    assert (await api.status(job["id"]))["status"] == "CANCELLED"


@pytest.mark.parametrize("stream", [False, True], ids=["waiting", "streaming"])
async def test_gateway_client_gone_cancels_the_job_and_stops_the_worker(api, stream):
    async with aiohttp.ClientSession() as leaving:
        url = api.endpoint.openai_url + "/chat/completions"
        asking = asyncio.create_task(leaving.post(url, json={**CHAT, "stream": stream}))
        job = await api.take()
        if stream:
            await api.stream(job["id"], "data: 1\n\n")
            (await asking).close()
        else:
            asking.cancel()
    assert await api.call("GET", "/job-stop/w1?gpu=x") == (200, {"jobsToStop": [job["id"]]})
    assert (await api.status(job["id"]))["status"] == "CANCELLED"


async def test_gateway_body_over_limit_is_refused(start):
    api = await start(limits=Limits(runsync_body_bytes=50))
    status, body = await api.call("POST", "/openai/v1/completions", json={"prompt": "x" * 100})
    assert status == 400
    assert "max body size" in body["error"]


async def test_openai_client_reads_answer_stream_and_error(api):
    chunk = {
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "tiny",
        "choices": [{"index": 0, "delta": {"content": "é🦙"}, "finish_reason": None}],
    }
    message = {"role": "assistant", "content": "hello"}
    whole = {
        **chunk,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }

    async def work():
        job = await api.take()
        await api.done(job["id"], {"output": [whole]})
        job = await api.take()
        for event in (json.dumps(chunk), json.dumps(chunk, ensure_ascii=False), "[DONE]"):
            await api.stream(job["id"], f"data: {event}\n\n")
        await api.done(job["id"], {"output": []})
        job = await api.take()
        await api.done(job["id"], {"error": '{"error": {"message": "boom", "code": "x"}}'})

    working = asyncio.create_task(work())
    async with openai.AsyncOpenAI(
        base_url=api.endpoint.openai_url, api_key="local", max_retries=0
    ) as client:
        answer = await client.chat.completions.create(**CHAT)
        assert answer.choices[0].message.content == "hello"
        stream = await client.chat.completions.create(**CHAT, stream=True)
        assert [part.choices[0].delta.content async for part in stream] == ["é🦙", "é🦙"]
        with pytest.raises(openai.InternalServerError, match="boom") as caught:
            await client.chat.completions.create(**CHAT)
        assert caught.value.code == "x"
    await working
