import asyncio
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from worker.engine import client as client_module
from worker.engine.client import EngineClient, Health
from worker.request import Upload


async def test_request_sends_method_path_and_json(serve):
    async def answer(request):
        seen = [request.method, request.path_qs, request.content_type, await request.text()]
        return web.json_response([*seen, request.headers["Accept-Encoding"]])

    client = await serve(answer)
    async with client.request("POST", "/v1/x?a=1", {"text": "Grüße 🦙"}) as response:
        assert await response.json() == [
            "POST",
            "/v1/x?a=1",
            "application/json",
            '{"text":"Grüße 🦙"}',
            "identity",
        ]


async def test_request_with_upload_sends_a_form(serve):
    async def answer(request):
        form = await request.post()
        file = form["file"]
        fields = [[name, value] for name, value in form.items() if isinstance(value, str)]
        return web.json_response([fields, file.filename, file.content_type, len(file.file.read())])

    client = await serve(answer)
    body = {"model": "grüße", "timestamp_granularities[]": ["word", "segment"]}
    upload = Upload("file", "a.mp3", b"\x00\r\n" * 99, "audio/mpeg")
    async with client.request("POST", "/v1/audio/transcriptions", body, upload) as response:
        assert await response.json() == [
            [
                ["model", "grüße"],
                ["timestamp_granularities[]", "word"],
                ["timestamp_granularities[]", "segment"],
            ],
            "a.mp3",
            "audio/mpeg",
            297,
        ]


async def test_request_without_body_sends_none(serve):
    async def answer(request):
        return web.json_response([request.method, await request.text()])

    client = await serve(answer)
    async with client.request("GET", "/v1/models") as response:
        assert await response.json() == ["GET", ""]


async def test_requests_one_after_the_other_share_a_connection(serve):
    transports = set()

    async def answer(request):
        transports.add(request.transport)
        return web.Response()

    client = await serve(answer)
    for _ in range(3):
        async with client.request("GET", "/") as response:
            await response.read()
    assert len(transports) == 1


async def test_leaving_a_request_early_closes_its_connection(serve):
    closed = asyncio.Event()

    async def answer(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"a")
        try:
            await asyncio.Event().wait()
        finally:
            closed.set()

    client = await serve(answer)
    async with client.request("GET", "/") as response:
        assert await response.content.readany() == b"a"
    await asyncio.wait_for(closed.wait(), 15)


@pytest.mark.parametrize(
    ("status", "health"),
    [(200, Health.OK), (503, Health.DEAD), (500, Health.DEAD), (404, Health.DEAD)],
)
async def test_check_health_reads_the_status(serve, status, health):
    async def answer(request):
        assert request.path == "/health"
        return web.Response(status=status)

    assert await (await serve(answer)).check_health() is health


async def test_check_health_without_a_server_is_silent(tmp_path):
    client = EngineClient(tmp_path / "absent")
    assert await client.check_health() is Health.SILENT
    await client.close()


async def test_check_health_of_a_server_that_hangs_is_silent(serve, monkeypatch):
    monkeypatch.setattr(client_module, "HEALTH_TIMEOUT_S", 0.05)

    async def answer(request):
        await asyncio.Event().wait()

    assert await (await serve(answer)).check_health() is Health.SILENT


async def test_check_health_of_a_server_that_drops_the_connection_is_silent(serve):
    async def answer(request):
        request.transport.abort()
        return web.Response()

    assert await (await serve(answer)).check_health() is Health.SILENT


async def test_closed_client_refuses_like_an_absent_server(serve):
    async def answer(request):
        return web.Response()

    client = await serve(answer)
    await client.close()
    await client.close()
    assert await client.check_health() is Health.SILENT
    with pytest.raises(aiohttp.ClientError, match="stopped"):
        async with client.request("GET", "/"):
            pass


async def test_close_ends_a_request_that_waits_for_its_answer(serve):
    asked = asyncio.Event()

    async def answer(request):
        asked.set()
        await asyncio.Event().wait()

    client = await serve(answer)

    async def ask():
        async with client.request("GET", "/"):
            pass

    asking = asyncio.create_task(ask())
    await asked.wait()
    await client.close()
    with pytest.raises(aiohttp.ClientError):
        await asyncio.wait_for(asking, 5)


async def test_close_ends_a_request_that_reads_its_answer(serve):
    async def answer(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"a")
        await asyncio.Event().wait()

    client = await serve(answer)
    async with client.request("GET", "/") as response:
        await response.content.readany()
        reading = asyncio.create_task(response.content.readany())
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(aiohttp.ClientError):
            await asyncio.wait_for(reading, 5)


@pytest.fixture
async def forgetful(tmp_path) -> AsyncIterator[tuple[EngineClient, list[int]]]:
    """A client of a server that answers once per connection and then closes it without a word."""
    served: list[int] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(served)
        served.append(0)
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = re.search(rb"content-length: (\d+)", head, re.I)
            if length is not None:
                await reader.readexactly(int(length.group(1)))
            if served[number]:
                break
            served[number] += 1
            writer.write(b"HTTP/1.1 500 X\r\nContent-Length: 2\r\n\r\nno")
        writer.close()

    server = await asyncio.start_unix_server(answer, str(tmp_path / "s"))
    client = EngineClient(tmp_path / "s")
    yield client, served
    await client.close()
    server.close()


async def test_request_on_a_closed_connection_goes_again_on_a_new_one(forgetful):
    client, served = forgetful
    for _ in range(3):
        async with client.request("POST", "/v1/x", {"a": 1}) as response:
            assert await response.text() == "no"
    assert served == [1, 1, 1]


async def test_upload_never_waits_for_a_used_connection(forgetful):
    client, served = forgetful
    for _ in range(2):
        upload = Upload("file", "a.wav", b"RIFF", "audio/wav")
        async with client.request("POST", "/v1/audio/x", {}, upload) as response:
            assert response.status == 500
    assert served == [1, 1]


async def test_request_to_a_server_that_is_gone_fails_at_once(tmp_path):
    client = EngineClient(tmp_path / "nothing")
    with pytest.raises(aiohttp.ClientConnectorError):
        async with client.request("POST", "/v1/x", {}):
            pass
    await client.close()
