"""What a health check is told, from the first second of the process to the last."""

from __future__ import annotations

import enum

from aiohttp import web


class State(enum.Enum):
    """How far the worker is; the value is the status of a health check.

    RunPod's load balancer sends requests on 200, waits on 204 and drops the worker on all others.
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
        """For people."""
        return self.value[1]


def health_response(state: State) -> web.Response:
    """Return the answer to a health check."""
    if state is State.STARTING:
        return web.Response(status=state.status)
    return web.json_response({"status": state.description}, status=state.status)
