"""Sessions that reach public addresses only; nothing here leaves this machine."""

from __future__ import annotations

import socket

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from worker.engine import media
from worker.engine.media import open_public_session


class RefusedError(Exception):
    """As vLLM's own error for a request that cannot be."""


class Names(AbstractResolver):
    """Resolves every name to the same addresses, and counts."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    async def resolve(self, host, port=0, family=socket.AF_INET):
        self.asked.append(host)
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": 0,
            }
            for address in self.addresses
        ]

    async def close(self):
        pass


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        pytest.param("http://127.0.0.1:1/x", [], id="address in the URL"),
        pytest.param("http://[::1]:1/x", [], id="IPv6 address in the URL"),
        pytest.param("http://[::ffff:127.0.0.1]:1/x", [], id="mapped address in the URL"),
        pytest.param("http://inside.example/x", ["10.0.0.1"], id="name"),
        pytest.param("http://inside.example/x", ["10.0.0.1", "::1"], id="name with several"),
    ],
)
async def test_session_refuses_before_it_connects(url, addresses):
    async with open_public_session(RefusedError, Names(*addresses)) as session:
        with pytest.raises(RefusedError, match="is not on the public internet"):
            await session.get(url)


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f.1"])
async def test_session_refuses_addresses_in_disguise(host):
    async with open_public_session(RefusedError, Names("127.0.0.1")) as session:
        with pytest.raises((RefusedError, aiohttp.InvalidURL)):
            await session.get(f"http://{host}:1/x")


async def test_session_leaves_private_addresses_of_a_public_name_out():
    guarded = media.PublicResolver(RefusedError, Names("10.0.0.1", "8.8.8.8"))
    assert [found["host"] for found in await guarded.resolve("both.example")] == ["8.8.8.8"]


async def test_session_follows_no_redirect_to_a_private_address(monkeypatch):
    """A server that counts as public, for once, sends the client on to one that does not."""
    seen = []

    async def answer(request):
        seen.append(request.path)
        raise web.HTTPFound(f"http://127.0.0.2:{port}/secret")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "0.0.0.0", 0)
    await site.start()
    port = runner.addresses[0][1]
    monkeypatch.setattr(media, "is_public", lambda address: address == "127.0.0.1")
    try:
        async with open_public_session(RefusedError, Names("127.0.0.1")) as session:
            with pytest.raises(RefusedError, match=r"127\.0\.0\.2"):
                await session.get(f"http://public.example:{port}/start")
    finally:
        await runner.cleanup()
    assert seen == ["/start"]


async def test_session_asks_again_for_a_name_that_has_moved():
    """The second answer of a name counts as much as the first: DNS rebinding gains nothing."""
    names = Names("10.0.0.1")
    async with open_public_session(RefusedError, names) as session:
        for _ in range(2):
            with pytest.raises(RefusedError):
                await session.get("http://moving.example/x")
    assert names.asked == ["moving.example"] * 2
