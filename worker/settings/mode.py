"""Which of the three ways to run applies: the queue, a load balancer, a pod."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from worker.errors import UnavailableError
from worker.settings.groups import EndpointSettings

Mode = Literal["queue", "load-balancer", "pod"]

JOB_SOURCE = "RUNPOD_WEBHOOK_GET_JOB"
"""RunPod sets it in every queue worker; the SDK takes jobs from there."""

ENDPOINT = "RUNPOD_ENDPOINT_ID"
"""RunPod sets it in every serverless worker."""

POD = "RUNPOD_POD_ID"
"""RunPod sets it in every container."""

DEFAULT_PORTS: Mapping[Mode, int] = {"load-balancer": 80, "pod": 8000}
"""RunPod's own default behind its load balancer; vLLM's own elsewhere."""


def choose_mode(endpoint: EndpointSettings, environ: Mapping[str, str]) -> Mode:
    """Return the mode that is set, or what the platform's variables say.

    In this order: the setting, a job queue, a serverless endpoint, a pod.

    Args:
        endpoint: The settings.
        environ: The process's environment.

    Raises:
        UnavailableError: The queue is wanted and there is none, or nothing says what is wanted.
    """
    mode = endpoint.mode
    if mode == "auto":
        if environ.get(JOB_SOURCE):
            return "queue"
        if environ.get(ENDPOINT):
            return "load-balancer"
        if environ.get(POD):
            return "pod"
    elif mode != "queue" or environ.get(JOB_SOURCE):
        return mode
    raise UnavailableError(
        f"{JOB_SOURCE} is not set, so there is no queue to take jobs from. RunPod sets it in its "
        "workers; on your own machine use `worker dev`, or `worker start --mode pod` for plain HTTP"
    )


def choose_ports(endpoint: EndpointSettings, mode: Mode) -> tuple[int, int]:
    """Return the ports for requests and for health checks, often the same."""
    port = endpoint.http_port or DEFAULT_PORTS[mode]
    return port, endpoint.health_port or port
