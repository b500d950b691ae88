"""Several machines, one model: a cluster's own variables as vLLM's multi-node options."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from worker.settings.field import Group, Words, setting

if TYPE_CHECKING:
    from worker.settings.resolve import Resolved

SIOCGIFADDR = 0x8915
"""Linux: the address of a network interface."""

SWITCH = "MULTI_NODE"
ENGINE_KEYS = frozenset({"nnodes", "node_rank", "master_addr", "master_port"})
"""Options of vLLM that only a cluster gives; a machine alone must not pass them on."""

INTERFACE_VARIABLES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME")
"""Tell the two libraries that vLLM's machines talk through which network to take."""


class ClusterSettings(Group):
    """How several machines serve one model."""

    multi_node: bool = setting(
        False,
        "Serve one model with all machines of a cluster, such as RunPod's Instant Clusters. Every "
        "machine starts the worker with the same settings; the first answers over HTTP, as a pod "
        "does, the others follow it and end with it. Unset, a machine serves alone, and nothing "
        "else of this group has an effect.",
        Words(env=SWITCH, title="Several machines", console=False),
    )
    nodes: int = setting(
        1,
        "Machines of the cluster. RunPod sets it.",
        Words(
            env="NUM_NODES",
            aliases=("NNODES",),
            option="nnodes",
            title="Machines",
            unit="machines",
            console=False,
        ),
        ge=1,
        le=512,
    )
    rank: int = setting(
        0,
        "Number of this machine, from 0; the one with 0 answers requests. RunPod sets it.",
        Words(
            env="NODE_RANK",
            option="node_rank",
            title="Machine number",
            unit="machine number",
            console=False,
        ),
        ge=0,
        le=511,
    )
    first_address: str | None = setting(
        None,
        "Address of machine 0 in the cluster's own network. RunPod sets it.",
        Words(
            env="PRIMARY_ADDR",
            aliases=("MASTER_ADDR",),
            option="master_addr",
            title="Address of machine 0",
            console=False,
            example="10.65.0.2",
            unset="needed on a cluster",
        ),
        min_length=1,
    )
    first_port: int = setting(
        29501,
        "Port of machine 0 at which vLLM's machines meet. RunPod sets it.",
        Words(
            env="PRIMARY_PORT",
            aliases=("MASTER_PORT",),
            option="master_port",
            title="Port of machine 0",
            unit="port number",
            console=False,
        ),
        ge=1,
        le=65_535,
    )
    own_address: str | None = setting(
        None,
        "Address of this machine in the cluster's own network. RunPod sets it; unset, vLLM takes "
        "the one that leads to the internet, which on RunPod does not reach the other machines.",
        Words(
            env="NODE_ADDR",
            title="Address of this machine",
            console=False,
            example="10.65.0.3",
            unset="vLLM chooses",
        ),
        min_length=1,
    )
    gpus: int | None = setting(
        None,
        "GPUs of each machine. RunPod sets it; a machine that sees another number does not start, "
        "because the others would wait for it in vain.",
        Words(
            env="NUM_TRAINERS",
            title="GPUs of each machine",
            unit="GPUs",
            console=False,
            example="8",
            unset="those that are visible",
        ),
        ge=1,
        le=64,
    )

    @property
    def spans(self) -> int:
        """Machines that serve together; 1 for a machine alone."""
        return self.nodes if self.multi_node else 1

    @property
    def follows(self) -> bool:
        """Whether another machine answers for this one."""
        return self.multi_node and self.rank > 0


def count_machines(values: Mapping[str, Resolved]) -> int:
    """Return the machines that serve together; 1 for a machine alone.

    Args:
        values: What is set, by the option's variable.
    """
    switch, nodes = values.get(SWITCH), values.get("NUM_NODES")
    return int(nodes.value) if switch is not None and switch.value and nodes is not None else 1


def passed_on(values: Iterable[Resolved], machines: int) -> Iterator[Resolved]:
    """Yield the values that vLLM gets: a machine alone keeps a cluster's to itself."""
    for resolved in values:
        if machines > 1 or resolved.option.engine_key not in ENGINE_KEYS:
            yield resolved


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
    try:
        wanted = ipaddress.IPv4Address(address).packed
    except ipaddress.AddressValueError:
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _index, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                found = fcntl.ioctl(asking.fileno(), SIOCGIFADDR, request)
            except OSError:
                continue
            if found[20:24] == wanted:
                return name
    return None
