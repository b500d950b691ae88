"""`worker health`: requests the health check from inside the container."""

from __future__ import annotations

import http.client
from collections.abc import Mapping

from worker.errors import ExitCode, WorkerError
from worker.settings import load_settings
from worker.settings.endpoint import choose_mode, choose_ports

TIMEOUT_S = 3.0


def run_health(environ: Mapping[str, str]) -> int:
    """Request the health check of this container's worker and print the result.

    Returns:
        Exit status: 0 if it is ready, or takes jobs from the queue; else 1.
    """
    try:
        settings = load_settings(environ)
        endpoint = settings.endpoint
        mode = choose_mode(endpoint, environ)
    except WorkerError as error:
        print(error)
        return ExitCode.FAILURE
    if mode == "queue":
        # The process ends when it cannot serve any more, and the container ends with it.
        print("a queue worker is healthy as long as it runs")
        return ExitCode.OK
    if settings.cluster.is_follower:
        print("a machine that follows another one is healthy as long as it runs")
        return ExitCode.OK
    _port, health_port = choose_ports(endpoint, mode)
    status = request_health(health_port, endpoint.health_path)
    print({200: "ready", 204: "the model is loading"}.get(status, "not healthy"))
    return ExitCode.OK if status == 200 else ExitCode.FAILURE


def request_health(port: int, path: str) -> int:
    """Return the status of a health check on this machine; 0 without a response."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
