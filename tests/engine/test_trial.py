import asyncio
import json

import pytest
from aiohttp import web

from worker.engine.trial import TRIALS, TrialError, try_engine


def answering(route, asked=None, *, status=200, text="{}"):
    """Serve one route; the others are not there, as with a model of another kind."""

    async def answer(request):
        if asked is not None:
            asked.append((request.path, json.loads(await request.text())))
        if request.path != route:
            raise web.HTTPNotFound
        return web.Response(status=status, text=text)

    return answer


@pytest.mark.parametrize("route", [route for route, _body in TRIALS])
async def test_try_engine_finds_the_route_of_the_models_kind(serve, route):
    asked = []
    client = await serve(answering(route, asked))
    assert await try_engine(client, "my-model", 5) == route
    assert asked[-1][0] == route
    assert {body["model"] for _route, body in asked} == {"my-model"}
    assert client.active == 0


async def test_try_engine_asks_a_generating_model_for_two_tokens(serve):
    asked = []
    client = await serve(answering("/v1/completions", asked))
    await try_engine(client, "m", 5)
    assert asked == [("/v1/completions", {"model": "m", "prompt": "Hello", "max_tokens": 2})]


async def test_try_engine_passes_a_model_that_no_trial_fits(serve):
    assert await try_engine(await serve(answering("/v1/audio/transcriptions")), "m", 5) is None


async def test_try_engine_takes_a_refusal_for_an_answer(serve):
    client = await serve(answering("/v1/completions", status=400))
    assert await try_engine(client, "m", 5) == "/v1/completions"


async def test_try_engine_with_a_failure_of_the_engine_says_what_it_answered(serve):
    client = await serve(answering("/v1/completions", status=500, text="no kernel image"))
    with pytest.raises(TrialError, match=r"/v1/completions answered 500: no kernel image"):
        await try_engine(client, "m", 5)


async def test_try_engine_does_not_wait_for_ever(serve):
    async def answer(_request):
        await asyncio.sleep(60)

    with pytest.raises(TrialError, match="no answer within 0 s"):
        await try_engine(await serve(answer), "m", 0.05)


async def test_try_engine_with_a_server_that_goes_away_says_so(serve):
    async def answer(request):
        request.transport.abort()
        return web.Response()

    with pytest.raises(TrialError, match="broke off"):
        await try_engine(await serve(answer), "m", 5)
