"""What the clients of RunPod's APIs share."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver

from tests.support.ports import free_port
from worker_tools.runpod_api import describe_no_response


async def test_refused_connection_is_described_by_address_and_reason() -> None:
    port = free_port()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await session.get(f"http://127.0.0.1:{port}")

    found = describe_no_response(caught.value)

    assert found == f"no connection to 127.0.0.1:{port}: Connection refused"


class NoHosts(AbstractResolver):
    """Knows no host, and asks no server of the network."""

    async def resolve(self, *_arguments: Any, **_options: Any) -> list[Any]:
        raise OSError(None, "Domain name not found")

    async def close(self) -> None:
        pass


async def test_unknown_host_is_described_by_name_and_reason() -> None:
    connector = aiohttp.TCPConnector(resolver=NoHosts())
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await session.get("http://host.invalid")

    found = describe_no_response(caught.value)

    assert found.startswith("no connection to host.invalid:80: ")
    assert "reason" not in found


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), "no answer in time"),
        (aiohttp.ServerDisconnectedError(), "Server disconnected"),
        (aiohttp.ClientError(), "no reason"),
    ],
)
def test_other_failures_are_described(error: Exception, expected: str) -> None:
    assert describe_no_response(error) == expected
