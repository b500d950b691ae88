"""A page of another origin in a real browser: it streams a chat, and reads errors, with a key."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, Error, Page

from tests.e2e.support.deployment import MODEL, TEXT, make_environ
from tests.e2e.support.http_worker import Server, serve_http
from tests.support.browser import launch_browser
from tests.support.ports import free_port

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

KEY = "sk-for-this-page"
PAGE = """<!doctype html>
<script>
async function send(url, key, body) {
  const headers = {"Authorization": `Bearer ${key}`, "Content-Type": "application/json"};
  const more = body === null ? {} : {method: "POST", body: JSON.stringify(body)};
  const response = await fetch(url, {headers, ...more});
  const reader = response.body.getReader(), decoder = new TextDecoder();
  const chunks = [];
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    chunks.push(decoder.decode(next.value, {stream: true}));
  }
  return {status: response.status, chunks};
}
</script>
"""
READ_EVENTS = """([url, key, body]) => send(url, key, body).then(answer => ({
  ...answer,
  texts: answer.chunks.join("").split("\\n\\n")
    .filter(event => event.startsWith("data: {"))
    .map(event => JSON.parse(event.slice(6)).choices[0]?.delta.content ?? ""),
}))"""
FIRST = """async ([url, key, body]) => {
  const headers = {"Authorization": `Bearer ${key}`, "Content-Type": "application/json"};
  const response = await fetch(url, {headers, method: "POST", body: JSON.stringify(body)});
  const reader = response.body.getReader();
  const {value} = await reader.read();
  await reader.cancel();
  return new TextDecoder().decode(value);
}"""
SEND = "([url, key, body]) => send(url, key, body)"


@contextlib.asynccontextmanager
async def serve_page() -> AsyncIterator[str]:
    """Serve the page on a port of its own, which makes it an origin of its own."""

    async def show(_request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", show)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with launch_browser() as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["pod", "load-balancer"])
async def site(
    request: pytest.FixtureRequest, tiny_model: Path, browser: Browser
) -> AsyncIterator[tuple[Server, Page, Page]]:
    """A worker, a page that may use it, and one that may not."""
    async with serve_page() as friend, serve_page() as stranger, aiohttp.ClientSession() as session:
        settings = {
            "WORKER_API_KEY": KEY,
            "ALLOWED_ORIGINS": f"https://app.example.com, {friend}",
        }
        environ = make_environ(tiny_model, **settings)
        async with serve_http(session, environ, mode=request.param) as server:
            allowed, other = await browser.new_page(), await browser.new_page()
            await allowed.goto(friend)
            await other.goto(stranger)
            yield server, allowed, other


def chat(**more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Say something."}]
    return {"model": MODEL, "messages": messages, "max_tokens": 200, **more}


async def test_page_streams_a_chat(site: tuple[Server, Page, Page]) -> None:
    server, page, _ = site
    body = chat(stream=True, structured_outputs={"choice": [TEXT]})
    answer = await page.evaluate(READ_EVENTS, [f"{server.url}/v1/chat/completions", KEY, body])
    assert answer["status"] == 200
    assert "".join(answer["texts"]) == TEXT


async def test_page_reads_the_beginning_before_the_end(site: tuple[Server, Page, Page]) -> None:
    server, page, _ = site
    body = chat(stream=True, max_tokens=1500, ignore_eos=True)
    first = await page.evaluate(FIRST, [f"{server.url}/v1/chat/completions", KEY, body])
    assert first.startswith("data: {")
    assert "[DONE]" not in first


@pytest.mark.parametrize(
    ("path", "key", "body", "status", "code"),
    [
        pytest.param("/v1/chat/completions", "wrong", chat(), 401, "invalid_api_key", id="key"),
        pytest.param("/v1/nothing", KEY, None, 404, "unknown_route", id="route"),
        pytest.param(
            "/v1/chat/completions", KEY, chat(model="x"), 404, "model_not_found", id="vllm"
        ),
    ],
)
async def test_page_reads_an_error(
    site: tuple[Server, Page, Page], path: str, key: str, body: Any, status: int, code: str
) -> None:
    server, page, _ = site
    answer = await page.evaluate(SEND, [server.url + path, key, body])
    assert answer["status"] == status
    assert f'"code":"{code}"' in "".join(answer["chunks"])


async def test_page_reads_the_health(site: tuple[Server, Page, Page]) -> None:
    server, page, _ = site
    answer = await page.evaluate(SEND, [server.health_url, "", None])
    assert answer["status"] == 200


async def test_page_of_an_origin_that_is_not_allowed_gets_nothing(
    site: tuple[Server, Page, Page],
) -> None:
    server, _, page = site
    with pytest.raises(Error, match="Failed to fetch"):
        await page.evaluate(SEND, [f"{server.url}/v1/chat/completions", KEY, chat()])
