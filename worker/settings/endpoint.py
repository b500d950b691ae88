"""How requests reach the worker: mode, HTTP ports and limits, machines of a cluster."""

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
    detects it from RunPod's variables. `worker start --mode` sets it on the command line."""
    http_port: Annotated[
        Port | None,
        Meta(
            aliases=("PORT",),
            unit="port number",
            example="8000",
            default_text="80 behind a load balancer, 8000 on a pod",
        ),
    ] = None
    """HTTP port behind a load balancer and on a pod. RunPod sets it as `PORT`."""
    health_port: Annotated[
        Port | None,
        Meta("PORT_HEALTH", unit="port number", example="8001", default_text="the HTTP port"),
    ] = None
    """Port for health checks; it can be the HTTP port."""
    health_path: Annotated[
        str,
        Meta("HEALTH_CHECK_PATH"),
        Field(pattern=r"^/[A-Za-z0-9._~/-]{1,199}$"),
    ] = "/ping"
    """Path of the health check. It returns 204 while the model loads, 200 when the worker is ready,
    and 503 while it stops."""
    api_key: Annotated[
        SecretStr | None,
        Meta(
            "WORKER_API_KEY",
            aliases=("VLLM_API_KEY",),
            example="sk-...",
            default_text="no key is required",
        ),
        Field(min_length=8),
    ] = None
    """API key that HTTP requests must send, as a Bearer token or in `x-api-key`. Set it on a pod.
    Behind the queue and the load balancer, RunPod checks its own key."""


class HttpSettings(SettingsModel):
    """Limits of HTTP connections."""

    max_connections: Annotated[
        int | None,
        Meta(
            unit="connections", example="2000", default_text="twice MAX_CONCURRENCY, at least 1000"
        ),
        Field(ge=1, le=100_000),
    ] = None
    """Maximum number of open connections to the HTTP port. A further connection replaces the one
    that has been idle longest, or gets 503 if none is idle."""
    header_timeout_s: Annotated[float, Meta(unit="seconds"), Field(gt=0, le=3600)] = 20.0
    """Maximum time to receive the head of an HTTP request. The connection is then closed."""
    body_timeout_s: Annotated[float, Meta(unit="seconds"), Field(gt=0, le=86_400)] = 120.0
    """Maximum time to receive the body of an HTTP request. The request then gets 408."""
    write_timeout_s: Annotated[float, Meta(unit="seconds"), Field(gt=0, le=86_400)] = 60.0
    """Maximum time that a client may stop reading its answer. The connection is then closed and the
    request is aborted in vLLM."""


class ClusterSettings(SettingsModel):
    """How several machines serve one model."""

    multi_node: Annotated[bool, Meta(title="Several machines")] = False
    """Serve one model on all machines of a cluster, such as RunPod's Instant Clusters. Start the
    worker with the same settings on every machine. Node 0 answers over HTTP, as a pod does; the
    other nodes exit with it. If false, a machine serves alone, and the other settings of this group
    have no effect."""
    nodes: Annotated[
        int,
        Meta(
            "NUM_NODES", aliases=("NNODES",), vllm_name="nnodes", title="Machines", unit="machines"
        ),
        Field(ge=1, le=512),
    ] = 1
    """Number of machines in the cluster. RunPod sets it."""
    rank: Annotated[
        int,
        Meta("NODE_RANK", vllm_name="node_rank", title="Machine number", unit="machine number"),
        Field(ge=0, le=511),
    ] = 0
    """Number of this node, starting from 0; node 0 answers requests. RunPod sets it."""
    first_address: Annotated[
        str | None,
        Meta(
            "PRIMARY_ADDR",
            aliases=("MASTER_ADDR",),
            vllm_name="master_addr",
            title="Address of node 0",
            example="10.65.0.2",
            default_text="required on a cluster",
        ),
        Field(min_length=1),
    ] = None
    """Address of node 0 in the cluster's network. RunPod sets it."""
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
    """Address of this machine in the cluster's network. RunPod sets it. If unset, vLLM uses the
    address of the internet connection, which cannot reach the other machines on RunPod."""
    gpus: Annotated[
        int | None,
        Meta(
            "NUM_TRAINERS",
            title="GPUs of each machine",
            unit="GPUs",
            example="8",
            default_text="the visible GPUs",
        ),
        Field(ge=1, le=64),
    ] = None
    """GPUs per machine. RunPod sets it. A machine with another number of GPUs does not start,
    because the others would wait for it forever."""

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
