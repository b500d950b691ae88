"""The state of the worker, as health checks report it."""

from __future__ import annotations

import enum

from aiohttp import web


class State(enum.Enum):
    """State of the worker, with the status and text of its health check.

    RunPod's load balancer sends requests after 200, waits after 204 and removes the worker after
    any other status.
    """

    STARTING = (204, "the model is loading")
    READY = (200, "ready")
    STOPPING = (503, "the worker is stopping")
    FAILED = (503, "the engine has died")

    @property
    def status(self) -> int:
        """HTTP status."""
        return self.value[0]

    @property
    def description(self) -> str:
        """Text of the health check."""
        return self.value[1]


def health_response(state: State) -> web.Response:
    """Return the response to a health check."""
    if state is State.STARTING:
        return web.Response(status=state.status)
    return web.json_response({"status": state.description}, status=state.status)
