"""Ports for servers that a test starts as processes."""

from __future__ import annotations

import socket


def free_port() -> int:
    """Return a port of loopback on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
