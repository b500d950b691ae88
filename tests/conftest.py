"""Unit tests stay on this machine and out of its user's files; the end-to-end ones are real."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

E2E = Path(__file__).parent / "e2e"

HOST_OF = {
    "socket.connect": lambda args: args[1],
    "socket.sendto": lambda args: args[1],
    "socket.getaddrinfo": lambda args: args[0],
    "socket.gethostbyname": lambda args: args[0],
}
"""Python's audit events at which a host is named, and where its address is in the arguments."""


class LoopbackGuard:
    """Fails the test that names a host other than this machine. An audit hook can only be added."""

    def __init__(self) -> None:
        self.on = False
        sys.addaudithook(self.check)

    def check(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and event in HOST_OF:
            address = HOST_OF[event](arguments)
            host = address[0] if isinstance(address, tuple) else address
            is_path = event in ("socket.connect", "socket.sendto") and not isinstance(
                address, tuple
            )
            if not is_path and not is_loopback(host):
                pytest.fail(f"{event}: a unit test reached out to {host!r}")


def is_loopback(host: str | bytes | None) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


collect_ignore = ["clients"]  # they run in environments of their own: scripts/clients.py

GUARD = LoopbackGuard()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def isolation(
    request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    if E2E in request.path.parents:
        yield
        return
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    GUARD.on = True
    yield
    GUARD.on = False
