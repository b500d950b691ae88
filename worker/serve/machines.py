"""The machines of a cluster watch each other: each of them is lost when one is."""

from __future__ import annotations

import asyncio
import logging
import time

import aiohttp

from worker.errors import UnavailableError
from worker.serve.health import State

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 1.0
"""Between two looks at it."""

LOOK_TIMEOUT_S = 5.0
"""How long it may take to answer one."""

SILENCE_S = 20.0
"""How long a machine may be silent, once it was there, before it counts as gone."""

CLOSED = -1
"""Instead of a status: the machine is there, and its worker has ended."""

MACHINE = "machine"
"""Member of the health check's query: the number of the machine that asks."""


class Followers:
    """The machines that machine 0 answers for: each is there as long as it asks for health.

    Needs no key: a spoofed poll can only keep a machine marked alive.

    Args:
        machines: Of the cluster, machine 0 included.
        silence_s: How long one may be silent before it counts as gone.
    """

    def __init__(self, machines: int, silence_s: float = SILENCE_S) -> None:
        self._numbers = {str(number) for number in range(1, machines)}
        self._silence_s = silence_s
        self._seen: dict[str, float] = {}

    def note(self, number: str | None) -> None:
        """Note that a machine asked for this one's health; None is somebody else."""
        if number in self._numbers:
            self._seen[number] = time.monotonic()

    async def wait_gone(self) -> str:
        """Wait until one is silent for too long; say which."""
        while True:
            oldest = time.monotonic() - self._silence_s
            for number, seen in self._seen.items():
                if seen < oldest:
                    return f"machine {number} has gone: it asks no more"
            await asyncio.sleep(LOOK_INTERVAL_S)


class Leader:
    """Machine 0 of a cluster, seen from another one through its health check.

    Args:
        url: Its health check.
        number: This machine's.
        silence_s: How long it may be silent before it counts as gone.
    """

    def __init__(self, url: str, number: int, silence_s: float = SILENCE_S) -> None:
        self._url = url
        self._number = number
        self._silence_s = silence_s
        self._seen: float | None = None
        self._session: aiohttp.ClientSession | None = None

    async def is_ready(self) -> bool:
        """Look once; tell whether it answers requests.

        Raises:
            UnavailableError: It was there, and has gone.
        """
        state = await self._look()
        if state in (State.STOPPING, State.FAILED):
            raise UnavailableError(f"machine 0 was there and has gone again: {self._url}")
        return state is State.READY

    async def wait_gone(self) -> str | None:
        """Wait until it ends; say so only if it is silent for too long, and None if it is known."""
        while True:
            state = await self._look()
            if state is State.FAILED:
                return "machine 0 has gone: it does not answer any more"
            if state is State.STOPPING:
                log.warning("machine 0 ends, and so does this one")
                return None
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def close(self) -> None:
        """Close the connection to it."""
        if self._session is not None:
            await self._session.close()

    async def _look(self) -> State:
        """Ask once; a machine that was never seen is on its way, for as long as a start may be."""
        status = await self._ask()
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
        return State.FAILED if now - self._seen > self._silence_s else State.STARTING

    async def _ask(self) -> int:
        """Return the status of its health check; 0 without an answer, CLOSED without a server."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=LOOK_TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout)
        try:
            asked = self._session.get(self._url, params={MACHINE: self._number})
            async with asked as response:
                return response.status
        except aiohttp.ClientConnectorError as error:
            return CLOSED if isinstance(error.os_error, ConnectionRefusedError) else 0
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0
