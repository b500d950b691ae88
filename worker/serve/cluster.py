"""The nodes of a cluster monitor each other: when one ends, all end."""

from __future__ import annotations

import asyncio
import logging
import time

import aiohttp

from worker.errors import UnavailableError
from worker.serve.health import State

log = logging.getLogger(__name__)

POLL_INTERVAL_S = 1.0
"""Time between two health checks."""

POLL_TIMEOUT_S = 5.0
"""Maximum time for the response to a health check."""

NODE_TIMEOUT_S = 20.0
"""Maximum silence of a node that was seen before."""

CLOSED = -1
"""In place of a status: the node is reachable, and its worker has ended."""

NODE = "node"
"""Parameter of the health check's query: the rank of the node that polls."""


class FollowerMonitor:
    """On node 0: monitors the other nodes. A node is alive while it polls the health check.

    Needs no key: a spoofed poll can only keep a node marked alive.

    Args:
        nodes: Number of nodes in the cluster, node 0 included.
        timeout_s: Maximum silence of a node.
    """

    def __init__(self, nodes: int, timeout_s: float = NODE_TIMEOUT_S) -> None:
        self._ranks = {str(rank) for rank in range(1, nodes)}
        self._timeout_s = timeout_s
        self._seen: dict[str, float] = {}

    def record_poll(self, rank: str | None) -> None:
        """Record a health check; ranks that are not in the cluster are ignored."""
        if rank in self._ranks:
            self._seen[rank] = time.monotonic()

    async def wait_gone(self) -> str:
        """Wait until a node has been silent for too long; return a text that names it."""
        while True:
            oldest = time.monotonic() - self._timeout_s
            for rank, seen in self._seen.items():
                if seen < oldest:
                    return f"node {rank} stopped polling"
            await asyncio.sleep(POLL_INTERVAL_S)


class LeaderMonitor:
    """On every other node: polls the health check of node 0.

    Args:
        url: The health check of node 0.
        rank: Rank of this node.
        timeout_s: Maximum silence of node 0.
    """

    def __init__(self, url: str, rank: int, timeout_s: float = NODE_TIMEOUT_S) -> None:
        self._url = url
        self._rank = rank
        self._timeout_s = timeout_s
        self._seen: float | None = None
        self._session: aiohttp.ClientSession | None = None

    async def is_ready(self) -> bool:
        """Poll once; return whether node 0 answers requests.

        Raises:
            UnavailableError: Node 0 was reachable and has ended.
        """
        state = await self._poll()
        if state in (State.STOPPING, State.FAILED):
            raise UnavailableError(f"node 0 was reachable and has ended: {self._url}")
        return state is State.READY

    async def wait_gone(self) -> str | None:
        """Wait until node 0 ends; return a text if it failed, None if it shuts down."""
        while True:
            state = await self._poll()
            if state is State.FAILED:
                return "node 0 does not respond any more"
            if state is State.STOPPING:
                log.warning("node 0 is shutting down, so this node stops too")
                return None
            await asyncio.sleep(POLL_INTERVAL_S)

    async def close(self) -> None:
        """Close the connection to node 0."""
        if self._session is not None:
            await self._session.close()

    async def _poll(self) -> State:
        """Return the state of node 0; it counts as starting until it is seen."""
        status = await self._request_status()
        now = time.monotonic()
        if status == State.STOPPING.status:
            return State.STOPPING
        if status in (State.STARTING.status, State.READY.status):
            self._seen = now
            return State.READY if status == State.READY.status else State.STARTING
        if self._seen is None:
            return State.STARTING
        if status == CLOSED:
            return State.STOPPING
        return State.FAILED if now - self._seen > self._timeout_s else State.STARTING

    async def _request_status(self) -> int:
        """Return the status of the health check; 0 without a response, CLOSED without a server."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=POLL_TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout)
        try:
            polled = self._session.get(self._url, params={NODE: self._rank})
            async with polled as response:
                return response.status
        except aiohttp.ClientConnectorError as error:
            return CLOSED if isinstance(error.os_error, ConnectionRefusedError) else 0
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0
