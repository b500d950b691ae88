"""WebSockets: vLLM's realtime route through the server, driven by real clients."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import re
from pathlib import Path

import aiohttp
import openai
import pytest
from aiohttp import WSCloseCode, WSMsgType, web

from worker.request import Code
from worker.serve import State
from worker.serve.websocket import ROUTES, find_websocket_route

KEY = "sk-worker-key"
CREATED = {"type": "session.created", "session": {"type": "transcription"}}


def speech(*, close: int = WSCloseCode.OK):
    """Answer as vLLM's realtime route does: a text per commit, closed by `session.close`."""

    async def answer(request):
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        await socket.send_json(CREATED)
        heard = b""
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data[::-1])
                continue
            event = message.json()
            if event["type"] == "input_audio_buffer.append":
                heard += base64.b64decode(event["audio"])
            elif event["type"] == "input_audio_buffer.commit":
                await socket.send_json({"type": "transcription.done", "text": heard.decode()})
            elif event["type"] == "session.close":
                await socket.close(code=close, message=b"bye")
            elif event["type"] == "die":
                request.transport.abort()
        return socket

    return answer


def connect(harness, path="/v1/realtime", **more):
    return harness.session.ws_connect(f"http://127.0.0.1:{harness.port}{path}", **more)


async def test_openai_realtime_client_sends_and_receives(ready):
    ready.engine.answer = speech()
    async with openai.AsyncOpenAI(
        api_key=KEY, base_url=f"http://127.0.0.1:{ready.port}/v1", max_retries=0
    ) as client:
        websocket_base = f"ws://127.0.0.1:{ready.port}/v1"
        client.websocket_base_url = websocket_base
        async with client.realtime.connect(model="tiny") as connection:
            assert (await connection.recv()).type == "session.created"
            audio = base64.b64encode(b"hello").decode()
            await connection.input_audio_buffer.append(audio=audio)
            await connection.input_audio_buffer.commit()
            assert b'"hello"' in (await connection.recv_bytes()).replace(b": ", b":")
    asked = ready.engine.requests[0]
    assert asked.path_qs == "/v1/realtime?model=tiny"
    assert "Authorization" not in asked.headers
    assert ready.client.active == 0


@pytest.mark.parametrize("path", ["/v1/realtime", "/openai/v1/realtime", "/realtime?model=x"])
async def test_websocket_messages_pass_in_both_directions(ready, path):
    ready.engine.answer = speech()
    async with connect(ready, path) as socket:
        assert await socket.receive_json() == CREATED
        await socket.send_bytes(b"abc")
        assert await socket.receive_bytes() == b"cba"
        await socket.send_json({"type": "input_audio_buffer.commit"})
        assert (await socket.receive_json())["type"] == "transcription.done"
    assert ready.engine.requests[0].path == "/v1/realtime"


async def test_large_websocket_message_passes(ready):
    ready.engine.answer = speech()
    async with connect(ready, max_msg_size=0) as socket:
        await socket.receive_json()
        await socket.send_bytes(bytes(10_000_000))
        assert len(await socket.receive_bytes()) == 10_000_000


async def test_close_of_the_engine_reaches_the_client(ready):
    ready.engine.answer = speech(close=WSCloseCode.POLICY_VIOLATION)
    async with connect(ready) as socket:
        await socket.receive_json()
        await socket.send_json({"type": "session.close"})
        assert (await socket.receive()).type is WSMsgType.CLOSE
        assert socket.close_code == WSCloseCode.POLICY_VIOLATION


async def test_close_of_the_client_reaches_the_engine(ready):
    closed = asyncio.get_running_loop().create_future()

    async def answer(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _message in socket:
            pass
        closed.set_result(socket.close_code)
        return socket

    ready.engine.answer = answer
    async with connect(ready) as socket:
        await socket.close(code=4000)
    assert await asyncio.wait_for(closed, 5) == 4000


async def test_websocket_client_that_vanishes_closes_the_engines_side(ready):
    closed = asyncio.Event()

    async def answer(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _message in socket:
            pass
        closed.set()
        return socket

    ready.engine.answer = answer
    async with aiohttp.ClientSession() as session:
        await session.ws_connect(f"http://127.0.0.1:{ready.port}/v1/realtime")
        await session.connector.close()  # Drops the connection without a closing handshake.
        await asyncio.wait_for(closed.wait(), 5)
    await ready.server.drain(5)


async def test_websocket_whose_engine_dies_closes_with_an_error(ready):
    ready.engine.answer = speech()
    async with connect(ready) as socket:
        await socket.receive_json()
        await socket.send_json({"type": "die"})
        assert (await socket.receive_json())["code"] == Code.ENGINE_DIED
        await socket.receive()
        assert socket.close_code == WSCloseCode.GOING_AWAY


async def test_websocket_still_open_at_the_stop_is_closed_as_going_away(ready):
    ready.engine.answer = speech()
    async with connect(ready) as socket:
        await socket.receive_json()
        ready.server.stop_accepting(State.STOPPING)
        end = asyncio.create_task(ready.server.drain(0.05))
        assert (await socket.receive_json())["code"] == Code.WORKER_STOPPING
        await socket.receive()
        assert socket.close_code == WSCloseCode.GOING_AWAY
        await end


async def test_websocket_of_a_model_without_realtime_is_refused_by_name(ready):
    async def refuse(request):
        return web.Response(status=403)

    ready.engine.answer = refuse
    async with ready.request("GET", "/v1/realtime", headers=UPGRADE) as response:
        error = (await response.json())["error"]
    assert (response.status, error["code"]) == (404, Code.ROUTE_NOT_SERVED)
    assert "Voxtral" in error["message"]


UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/realtime/x", "/ws"])
async def test_websocket_of_an_unknown_route_is_refused(ready, path):
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await connect(ready, path)
    assert caught.value.status == 404
    assert ready.engine.requests == []


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_plain_request_to_a_websocket_route_gets_426(ready, method):
    status, body = await ready.ask(method, "/realtime")
    assert (status, body["error"]["code"]) == (426, Code.METHOD_NOT_ALLOWED)
    assert "wss://" in body["error"]["message"]


async def test_websocket_without_the_key_or_before_the_start_is_refused(harness):
    await harness.open(api_key=KEY)
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await connect(harness)
    assert caught.value.status == 401
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await connect(harness, headers={"Authorization": f"Bearer {KEY}"})
    assert caught.value.status == 503


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="needs vLLM's source")
def test_websocket_routes_are_those_of_vllm():
    spec = importlib.util.find_spec("vllm")
    folder = Path(spec.submodule_search_locations[0]) / "entrypoints"
    found = {
        route
        for path in folder.rglob("*.py")
        for route in re.findall(r"\.websocket\(\s*\"([^\"]+)\"", path.read_text())
    }
    assert found == set(ROUTES)
    assert all(find_websocket_route(route) == route for route in ROUTES)
