"""How requests reach the worker: mode, ports and limits of HTTP, the machines of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from worker.errors import UnavailableError
from worker.metadata import Meta
from worker.settings.types import SettingsModel

Mode = Literal["queue", "load-balancer", "pod"]
Port = Annotated[int, Field(ge=1, le=65_535)]

JOB_SOURCE = "RUNPOD_WEBHOOK_GET_JOB"
"""RunPod sets it in every queue worker; the SDK takes jobs from there."""

ENDPOINT = "RUNPOD_ENDPOINT_ID"
"""RunPod sets it in every serverless worker."""

STORE = "VLLM_ENABLE_RESPONSES_API_STORE"
"""vLLM's variable that keeps responses for later requests; no setting."""

POD = "RUNPOD_POD_ID"
"""RunPod sets it in every container."""

DEFAULT_PORTS: Mapping[Mode, int] = {"load-balancer": 80, "pod": 8000}
"""RunPod's own default behind its load balancer; vLLM's own elsewhere."""


class EndpointSettings(SettingsModel):
    """How requests reach the worker."""

    mode: Annotated[Literal["auto", Mode], Meta("WORKER_MODE")] = "auto"
    """Where requests come from: RunPod's job queue, its load balancer, or HTTP on a pod. `auto`
    takes the queue where RunPod names one, else the load balancer on an endpoint, else the pod;
    `worker start --mode` sets it on the command line."""
    http_port: Annotated[
        Port | None,
        Meta(
            aliases=("PORT",),
            unit="port number",
            example="8000",
            default_text="80 behind a load balancer, 8000 on a pod",
        ),
    ] = None
    """Port for HTTP behind a load balancer and on a pod. RunPod's `PORT` counts."""
    health_port: Annotated[
        Port | None,
        Meta("PORT_HEALTH", unit="port number", example="8001", default_text="the HTTP port"),
    ] = None
    """Port that answers health checks; it may be the one for HTTP."""
    health_path: Annotated[
        str,
        Meta("HEALTH_CHECK_PATH"),
        Field(pattern=r"^/[A-Za-z0-9._~/-]{1,199}$"),
    ] = "/ping"
    """Path of the health check: 204 while the model loads, 200 when it answers, 503 when the worker
    ends."""
    api_key: Annotated[
        SecretStr | None,
        Meta(
            "WORKER_API_KEY",
            aliases=("VLLM_API_KEY",),
            example="sk-...",
            default_text="no key is asked for",
        ),
        Field(min_length=8),
    ] = None
    """Key that every HTTP request must bring, as a Bearer token or in `x-api-key`. Behind RunPod's
    queue and load balancer the platform checks its own; on a pod nobody else does."""


class HttpSettings(SettingsModel):
    """How many clients connect over HTTP, and how long they may take."""

    max_connections: Annotated[
        int | None,
        Meta(
            unit="connections", example="2000", default_text="twice MAX_CONCURRENCY, at least 1000"
        ),
        Field(ge=1, le=100_000),
    ] = None
    """Most open connections of the HTTP port. One more replaces the connection that is idle for
    longest, or is answered 503 where none is idle."""
    header_timeout_s: Annotated[float, Meta(unit="seconds"), Field(gt=0, le=3600)] = 20.0
    """Longest time that the head of an HTTP request may take to arrive. The connection is then
    closed."""
    body_timeout_s: Annotated[float, Meta(unit="seconds"), Field(gt=0, le=86_400)] = 120.0
    """Longest time that the body of an HTTP request may take to arrive. The request is then
    answered 408."""
    write_timeout_s: Annotated[float, Meta(unit="seconds"), Field(gt=0, le=86_400)] = 60.0
    """Longest time that a client may read nothing of its answer. The connection is then closed and
    the request is aborted in vLLM."""


class ClusterSettings(SettingsModel):
    """How several machines serve one model."""

    multi_node: Annotated[bool, Meta(title="Several machines")] = False
    """Serve one model with all machines of a cluster, such as RunPod's Instant Clusters. Every
    machine starts the worker with the same settings; the first answers over HTTP, as a pod does,
    the others follow it and end with it. Unset, a machine serves alone, and nothing else of this
    group has an effect."""
    nodes: Annotated[
        int,
        Meta(
            "NUM_NODES", aliases=("NNODES",), vllm_name="nnodes", title="Machines", unit="machines"
        ),
        Field(ge=1, le=512),
    ] = 1
    """Machines of the cluster. RunPod sets it."""
    rank: Annotated[
        int,
        Meta("NODE_RANK", vllm_name="node_rank", title="Machine number", unit="machine number"),
        Field(ge=0, le=511),
    ] = 0
    """Number of this machine, from 0; the one with 0 answers requests. RunPod sets it."""
    first_address: Annotated[
        str | None,
        Meta(
            "PRIMARY_ADDR",
            aliases=("MASTER_ADDR",),
            vllm_name="master_addr",
            title="Address of node 0",
            example="10.65.0.2",
            default_text="needed on a cluster",
        ),
        Field(min_length=1),
    ] = None
    """Address of node 0 in the cluster's own network. RunPod sets it."""
    first_port: Annotated[
        Port,
        Meta(
            "PRIMARY_PORT",
            aliases=("MASTER_PORT",),
            vllm_name="master_port",
            title="Port of node 0",
            unit="port number",
        ),
    ] = 29501
    """Port of node 0 on which vLLM's nodes connect. RunPod sets it."""
    own_address: Annotated[
        str | None,
        Meta(
            "NODE_ADDR",
            title="Address of this machine",
            example="10.65.0.3",
            default_text="vLLM chooses",
        ),
        Field(min_length=1),
    ] = None
    """Address of this machine in the cluster's own network. RunPod sets it; unset, vLLM takes the
    one that leads to the internet, which on RunPod does not reach the other machines."""
    gpus: Annotated[
        int | None,
        Meta(
            "NUM_TRAINERS",
            title="GPUs of each machine",
            unit="GPUs",
            example="8",
            default_text="those that are visible",
        ),
        Field(ge=1, le=64),
    ] = None
    """GPUs of each machine. RunPod sets it; a machine that sees another number does not start,
    because the others would wait for it for ever."""

    @property
    def size(self) -> int:
        """Machines that serve together; 1 for a machine alone."""
        return self.nodes if self.multi_node else 1

    @property
    def is_follower(self) -> bool:
        """Whether another machine answers for this one."""
        return self.multi_node and self.rank > 0


def choose_mode(endpoint: EndpointSettings, environ: Mapping[str, str]) -> Mode:
    """Return the mode: the setting, else a job queue, a serverless endpoint or a pod.

    Args:
        endpoint: The settings.
        environ: The process's environment.

    Raises:
        UnavailableError: The mode is `queue` and there is none, or there is no sign of a mode.
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
