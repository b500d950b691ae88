import asyncio
import json

import pytest
from aiohttp import web

from worker.engine.self_test import PROBES, SelfTestError, run_self_test


def answering(route, asked=None, *, status=200, text="{}"):
    """Serve one route; the others return 404, as with a model of another kind."""

    async def answer(request):
        if asked is not None:
            asked.append((request.path, json.loads(await request.text())))
        if request.path != route:
            raise web.HTTPNotFound
        return web.Response(status=status, text=text)

    return answer


@pytest.mark.parametrize("route", [route for route, _body in PROBES])
async def test_run_self_test_returns_the_route_of_the_models_kind(serve, route):
    asked = []
    client = await serve(answering(route, asked))
    assert await run_self_test(client, "my-model", 5) == route
    assert asked[-1][0] == route
    assert {body["model"] for _route, body in asked} == {"my-model"}
    assert client.active == 0


async def test_run_self_test_asks_a_generating_model_for_two_tokens(serve):
    asked = []
    client = await serve(answering("/v1/completions", asked))
    await run_self_test(client, "m", 5)
    assert asked == [("/v1/completions", {"model": "m", "prompt": "Hello", "max_tokens": 2})]


async def test_run_self_test_without_a_matching_probe_returns_none(serve):
    assert await run_self_test(await serve(answering("/v1/audio/transcriptions")), "m", 5) is None


async def test_run_self_test_accepts_a_client_error(serve):
    client = await serve(answering("/v1/completions", status=400))
    assert await run_self_test(client, "m", 5) == "/v1/completions"


async def test_run_self_test_with_a_server_error_reports_the_response(serve):
    client = await serve(answering("/v1/completions", status=500, text="no kernel image"))
    with pytest.raises(SelfTestError, match=r"/v1/completions answered 500: no kernel image"):
        await run_self_test(client, "m", 5)


async def test_run_self_test_without_a_response_times_out(serve):
    async def answer(_request):
        await asyncio.sleep(60)

    with pytest.raises(SelfTestError, match="no answer within 0 s"):
        await run_self_test(await serve(answer), "m", 0.05)


async def test_run_self_test_with_a_closed_connection_reports_it(serve):
    async def answer(request):
        request.transport.abort()
        return web.Response()

    with pytest.raises(SelfTestError, match="was interrupted"):
        await run_self_test(await serve(answer), "m", 5)
