"""Several machines, one model: a cluster's own variables as vLLM's multi-node options."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Annotated

import psutil
from pydantic import Field

from worker.metadata import Meta
from worker.settings.types import Port, SettingsModel

CLUSTER_OPTIONS = frozenset({"nnodes", "node_rank", "master_addr", "master_port"})
"""Options of vLLM that only a cluster gives; a machine alone must not pass them on."""

INTERFACE_VARIABLES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME")
"""Tell the two libraries that vLLM's machines talk through which network to take."""


class ClusterSettings(SettingsModel):
    """How several machines serve one model."""

    multi_node: Annotated[bool, Meta("MULTI_NODE", title="Several machines")] = False
    """Serve one model with all machines of a cluster, such as RunPod's Instant Clusters. Every
    machine starts the worker with the same settings; the first answers over HTTP, as a pod does,
    the others follow it and end with it. Unset, a machine serves alone, and nothing else of this
    group has an effect."""
    nodes: Annotated[
        int,
        Meta("NUM_NODES", "NNODES", vllm_name="nnodes", title="Machines", unit="machines"),
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
            "MASTER_ADDR",
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
            "MASTER_PORT",
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


def network_variables(cluster: ClusterSettings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that keep the machines' talk inside the cluster's network.

    Args:
        cluster: The settings.
        environ: The worker's environment; what it says already stays.
    """
    if not cluster.multi_node or cluster.own_address is None:
        return {}
    # As an interface has it: some platforms write the length of the network behind it.
    address = cluster.own_address.partition("/")[0]
    wanted = {"VLLM_HOST_IP": address}
    if interface := find_interface(address):
        wanted |= dict.fromkeys(INTERFACE_VARIABLES, interface)
    return {name: value for name, value in wanted.items() if not environ.get(name)}


def find_interface(address: str) -> str | None:
    """Return the network interface of this machine with an IPv4 address; None if there is none."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(a.family == socket.AF_INET and a.address == address for a in addresses):
            return str(name)
    return None
