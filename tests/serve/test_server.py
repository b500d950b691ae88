"""HTTP from the first second to the last: health, routes, errors, streams, the end."""

from __future__ import annotations

import asyncio
import io

import aiohttp
import orjson
import pytest
from aiohttp import web
from yarl import URL

from tests.fakes.engine import BODY, CHAT, DONE, EVENT, REPLY, STREAM, code_of, say, stream
from worker.errors import UnavailableError
from worker.request import Code
from worker.serve import HttpServer, HttpServerConfig, State

KEY = "sk-worker-key"


# Health


async def test_health_from_the_first_second_to_the_last(harness):
    await harness.open()
    assert await harness.ask("GET", "/ping") == (204, b"")
    harness.begin()
    assert await harness.ask("GET", "/ping") == (200, {"status": "ready"})
    harness.server.stop_accepting(State.STOPPING)
    assert (await harness.ask("GET", "/ping"))[0] == 503
    harness.server.stop_accepting(State.FAILED)
    assert (await harness.ask("GET", "/ping"))[0] == 503


@pytest.mark.parametrize("path", ["/up", "/ping", "/health"])
async def test_health_on_a_port_and_path_of_its_own(harness, path):
    await harness.open(two_ports=True, health_path="/up")
    for port in (harness.port, harness.health_port):
        assert (await harness.ask("GET", path, port=port))[0] == 204
    assert (await harness.ask("GET", "/v1/models", port=harness.health_port))[0] == 404


async def test_health_needs_no_key(harness):
    await harness.open(api_key=KEY)
    assert (await harness.ask("GET", "/ping"))[0] == 204


async def test_port_that_is_taken_is_named(harness):
    await harness.open()
    options = HttpServerConfig(harness.port, harness.port, "/ping", None, 1, host="127.0.0.1")
    with pytest.raises(UnavailableError, match=f"port {harness.port} .*HTTP_PORT"):
        await HttpServer(options).prepare()


# Requests


async def test_request_before_the_model_is_loaded_gets_503(harness):
    await harness.open()
    async with harness.request("POST", CHAT, json=BODY) as response:
        assert response.status == 503
        assert int(response.headers["Retry-After"]) > 0
        assert code_of(await response.json()) == Code.ENGINE_UNAVAILABLE


async def test_answer_is_vllms_with_its_headers(ready):
    ready.engine.answer = say(REPLY, headers={"X-Request-Id": "7", "Server": "uvicorn"})
    headers = {
        "Authorization": "Bearer rp",
        "X-Request-Id": "7",
        "X-Runpod-Worker-Id": "strict w1",
        "Connection": "keep-alive, X-Private",
        "X-Private": "1",
        "Cookie": "a=b",
    }
    async with ready.request("POST", CHAT, json=BODY, headers=headers) as response:
        assert await response.json() == REPLY
        assert response.headers["X-Request-Id"] == "7"
        assert "uvicorn" not in response.headers["Server"]
    got = ready.engine.requests[0].headers
    assert got["X-Runpod-Worker-Id"] == "strict w1"
    assert not {"Authorization", "X-Private", "Cookie"} & set(got)
    assert orjson.loads(ready.engine.bodies[0]) == BODY


@pytest.mark.parametrize(
    "path", [CHAT, "/openai" + CHAT, "/chat/completions", "/" + CHAT, "/v1//chat/completions"]
)
async def test_route_by_every_name_that_a_job_may_use(ready, path):
    ready.engine.answer = say(REPLY)
    assert await ready.ask("POST", path, json=BODY) == (200, REPLY)
    assert ready.engine.requests[0].path == CHAT


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", CHAT, "POST"),
        ("OPTIONS", "/openai/v1/models", "GET"),
        ("GET", "/runsync", "POST"),
    ],
)
async def test_method_that_a_route_does_not_take_is_refused_with_those_it_takes(
    ready, method, path, allowed
):
    async with ready.request(method, path) as response:
        assert (response.status, response.headers["Allow"]) == (405, allowed)


async def test_query_of_a_get_route_reaches_vllm(ready):
    ready.engine.answer = say({"data": []})
    assert await ready.ask("GET", "/v1/models?limit=1") == (200, {"data": []})
    assert ready.engine.requests[0].path_qs == "/v1/models?limit=1"


async def test_model_is_completed_and_best_of_chosen(ready):
    choices = [
        {
            "index": number,
            "message": {"content": str(number)},
            "logprobs": {"content": [{"logprob": logprob}]},
            "finish_reason": "stop",
        }
        for number, logprob in enumerate((-3.0, -1.0))
    ]
    ready.engine.answer = say({**REPLY, "choices": choices})
    body = {"messages": BODY["messages"], "best_of": 2}
    status, answer = await ready.ask("POST", CHAT, json=body)
    assert (status, len(answer["choices"])) == (200, 1)
    assert answer["choices"][0]["message"]["content"] == "1"
    assert orjson.loads(ready.engine.bodies[0])["model"] == "tiny"


async def test_form_passes_through_unread(ready):
    ready.engine.answer = say({"text": "hello"})
    form = aiohttp.FormData({"model": "tiny"})
    form.add_field("file", b"\x00\xff" * 50, filename="a.wav", content_type="audio/wav")
    path = "/v1/audio/transcriptions"
    assert await ready.ask("POST", path, data=form) == (200, {"text": "hello"})
    assert ready.engine.requests[0].content_type == "multipart/form-data"
    assert b"\x00\xff" * 50 in ready.engine.bodies[0]


@pytest.mark.parametrize(
    ("method", "path", "more", "status", "code"),
    [
        pytest.param("GET", "/metrics", {}, 403, Code.ROUTE_CLOSED, id="closed"),
        pytest.param("POST", "/sleep", {}, 403, Code.ROUTE_CLOSED, id="closed post"),
        pytest.param("GET", "/v2/nothing", {}, 404, Code.UNKNOWN_ROUTE, id="unknown"),
        pytest.param("GET", CHAT, {}, 405, Code.METHOD_NOT_ALLOWED, id="method"),
        pytest.param("DELETE", "/v1/models", {}, 405, Code.METHOD_NOT_ALLOWED, id="delete"),
        pytest.param("POST", CHAT, {"data": b"{"}, 400, Code.INVALID_REQUEST, id="not json"),
        pytest.param("POST", CHAT, {"data": b"[1]"}, 400, Code.INVALID_REQUEST, id="no object"),
        pytest.param("POST", CHAT, {}, 400, Code.MISSING_PARAMETER, id="no body"),
        pytest.param(
            "POST",
            CHAT,
            {"json": {**BODY, "temprature": 1}},
            400,
            Code.UNKNOWN_PARAMETER,
            id="typo",
        ),
        pytest.param("POST", "/runsync", {"json": {}}, 400, Code.INVALID_REQUEST, id="no input"),
        pytest.param(
            "POST",
            "/runsync",
            {"json": {"input": {"x": 1}}},
            400,
            Code.INVALID_JOB_INPUT,
            id="bad input",
        ),
        pytest.param("GET", "/%6detrics", {}, 403, Code.ROUTE_CLOSED, id="escaped path"),
        pytest.param(
            "POST",
            "/v1/load_lora_adapter",
            {"data": aiohttp.FormData({"a": io.BytesIO(b"b")})},
            403,
            Code.ROUTE_CLOSED,
            id="closed to a form",
        ),
    ],
)
async def test_bad_request_is_refused_with_its_status(ready, method, path, more, status, code):
    got, body = await ready.ask(method, path, **more)
    assert (got, code_of(body)) == (status, code)
    assert ready.engine.requests == []


@pytest.mark.parametrize("path", ["/v1/messages", "/openai/v1/messages", "/messages"])
async def test_error_of_messages_has_anthropics_form(harness, path):
    await harness.open(api_key=KEY)
    expected = [(401, "authentication_error"), (503, "overloaded_error"), (400, None)]
    for (status, kind), key in zip(expected, ("wrong", KEY, KEY), strict=True):
        got, body = await harness.ask("POST", path, data=b"{", headers={"x-api-key": key})
        assert (got, body["type"]) == (status, "error")
        assert body["error"]["type"] == (kind or "invalid_request_error")
        assert body["error"]["message"]
        if status == 503:
            harness.begin()


async def test_error_of_messages_from_vllm_has_anthropics_form(ready):
    error = {"type": "NotFoundError", "message": "The model `x` does not exist."}
    ready.engine.answer = say({"type": "error", "error": error}, status=404)
    body = {"model": "x", "max_tokens": 1, "messages": BODY["messages"]}
    status, answer = await ready.ask("POST", "/v1/messages", json=body)
    assert (status, answer["type"]) == (404, "error")
    assert answer["error"]["type"] == "not_found_error"
    assert answer["error"]["code"] == Code.MODEL_NOT_FOUND


async def test_body_beyond_the_limit_is_refused(ready):
    got, body = await ready.ask("POST", CHAT, data=io.BytesIO(b" " * 30_000_001))
    assert (got, code_of(body)) == (413, Code.INVALID_REQUEST)


async def test_control_route_is_served_if_the_setting_opens_it(harness):
    await harness.open()
    harness.begin(open_control=True)
    harness.engine.answer = say({})
    assert (await harness.ask("GET", "/metrics"))[0] == 200


async def test_error_of_vllm_keeps_its_status(ready):
    message = "This model's maximum context length is 8 tokens."
    ready.engine.answer = say({"error": {"message": message, "code": 400}}, status=400)
    status, body = await ready.ask("POST", CHAT, json=STREAM)
    assert (status, code_of(body)) == (400, Code.CONTEXT_LENGTH_EXCEEDED)


async def test_request_above_the_concurrency_is_refused_as_overload(harness):
    await harness.open(max_concurrency=1)
    harness.begin()
    harness.engine.answer = stream(EVENT, hang=True)
    async with harness.request("POST", CHAT, json=STREAM) as running:
        assert await running.content.readuntil(b"\n\n") == EVENT
        status, body = await harness.ask("POST", CHAT, json=BODY)
        assert code_of(body) == Code.ENGINE_OVERLOADED
        assert status in (429, 503)


# The key


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 401, id="none"),
        pytest.param({"Authorization": "Bearer wrong"}, 401, id="wrong"),
        pytest.param({"Authorization": f"Basic {KEY}"}, 401, id="another scheme"),
        pytest.param({"Authorization": "Bearer schlüssel"}, 401, id="not ascii"),
        pytest.param({"Authorization": f"Bearer {KEY}"}, 200, id="bearer"),
        pytest.param({"authorization": f"bearer {KEY}"}, 200, id="lower case"),
        pytest.param({"x-api-key": KEY}, 200, id="as Anthropic's client sends it"),
    ],
)
async def test_request_without_the_right_key_is_refused_with_401(harness, headers, status):
    await harness.open(api_key=KEY)
    harness.begin()
    harness.engine.answer = say({"data": []})
    got, body = await harness.ask("GET", "/v1/models", headers=headers)
    assert got == status
    assert status == 200 or code_of(body) == Code.INVALID_API_KEY


# Streams


async def test_stream_arrives_event_by_event(ready):
    go = asyncio.Event()

    async def answer(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(EVENT)
        await go.wait()
        await response.write(DONE)
        return response

    ready.engine.answer = answer
    async with ready.request("POST", CHAT, json=STREAM) as response:
        assert response.content_type == "text/event-stream"
        assert await response.content.readuntil(b"\n\n") == EVENT
        go.set()
        assert await response.content.read() == DONE
    assert "stream_interval" not in orjson.loads(ready.engine.bodies[0])


async def test_error_of_vllm_within_a_stream_is_translated(ready):
    refused = b'data: {"error":{"message":"EngineCore died","code":500}}\n\n'
    # However the stream is cut.
    ready.engine.answer = stream(EVENT + refused[:20], refused[20:] + DONE)
    _status, text = await ready.ask("POST", CHAT, json=STREAM)
    event, error, end, rest = text.split(b"\n\n")
    assert (event + b"\n\n", end + b"\n\n", rest) == (EVENT, DONE, b"")
    assert orjson.loads(error.removeprefix(b"data: "))["error"]["code"] == Code.ENGINE_DIED


async def test_client_that_leaves_ends_the_request_in_vllm(ready):
    ready.engine.answer = stream(EVENT, hang=True)
    async with ready.request("POST", CHAT, json=STREAM) as response:
        await response.content.readuntil(b"\n\n")
    async with asyncio.timeout(5):
        await ready.engine.left.wait()


async def test_engine_that_dies_within_a_stream_sends_an_error_event(ready):
    ready.engine.answer = stream(EVENT, cut=True)
    status, text = await ready.ask("POST", CHAT, json=STREAM)
    assert status == 200
    event, error, end, rest = text.split(b"\n\n")
    assert event + b"\n\n" == EVENT
    assert orjson.loads(error.removeprefix(b"data: "))["error"]["code"] == Code.ENGINE_DIED
    assert (end + b"\n\n", rest) == (DONE, b"")


async def test_engine_that_dies_before_its_answer_is_an_error(ready):
    await ready.client.close()
    status, body = await ready.ask("POST", CHAT, json=BODY)
    assert (status, code_of(body)) == (body["error"]["status"], Code.ENGINE_DIED)


async def test_engine_that_dies_within_a_plain_answer_cuts_it(ready):
    ready.engine.answer = stream(b"half", cut=True, kind="application/json")
    with pytest.raises(aiohttp.ClientError):
        await ready.ask("POST", CHAT, json=BODY)


@pytest.mark.parametrize("body", [BODY, STREAM], ids=["whole", "stream"])
async def test_request_that_runs_too_long_is_ended(harness, body):
    harness.timeout_s = 0.05
    await harness.open()
    harness.begin()

    async def never(request):
        await asyncio.Event().wait()

    harness.engine.answer = stream(EVENT, hang=True) if body is STREAM else never
    status, answer = await harness.ask("POST", CHAT, json=body)
    if body is STREAM:
        assert Code.ENGINE_TIMEOUT in answer.decode()
    else:
        assert (status, code_of(answer)) == (504, Code.ENGINE_TIMEOUT)
    async with asyncio.timeout(5):
        await harness.engine.left.wait()


# The end


async def test_drain_lets_running_requests_end_and_refuses_others(ready):
    go = asyncio.Event()

    async def answer(request):
        await go.wait()
        return web.json_response(REPLY)

    ready.engine.answer = answer
    running = asyncio.create_task(ready.ask("POST", CHAT, json=BODY))
    while not ready.engine.requests:
        await asyncio.sleep(0.005)
    ready.server.stop_accepting(State.STOPPING)
    finish = asyncio.create_task(ready.server.drain(5))
    status, body = await ready.ask("POST", CHAT, json=BODY)
    assert (status, code_of(body)) == (503, Code.WORKER_STOPPING)
    assert not finish.done()
    go.set()
    await finish
    assert await running == (200, REPLY)


async def test_drain_ends_what_runs_too_long_with_an_error(ready):
    ready.engine.answer = stream(EVENT, hang=True)
    async with ready.request("POST", CHAT, json=STREAM) as response:
        await response.content.readuntil(b"\n\n")
        ready.server.stop_accepting(State.STOPPING)
        await ready.server.drain(0.02)
        assert Code.WORKER_STOPPING in (await response.content.read()).decode()
    async with asyncio.timeout(5):
        await ready.engine.left.wait()


async def test_path_with_a_line_end_is_refused_with_an_error_object(ready, caplog):
    path = "/v1/responses/a%0aERROR%20forged"
    url = URL(f"http://127.0.0.1:{ready.port}{path}", encoded=True)
    async with ready.session.get(url) as response:
        body = await response.json()
    assert (response.status, body["error"]["code"]) == (400, Code.INVALID_ROUTE)
    assert "forged" not in caplog.text
