"""Several machines: which of them may start, and what each tells vLLM of the others."""

import pytest

from worker.errors import ConfigurationError
from worker.machine import GIB, MachineInfo
from worker.settings import load_settings
from worker.settings.endpoint import ClusterSettings
from worker.settings.engine_environment import find_interface, network_variables

CLUSTER = {
    "MODEL_NAME": "org/x",
    "WORKER_MODE": "pod",
    "MULTI_NODE": "true",
    "NUM_NODES": "2",
    "NODE_RANK": "1",
    "PRIMARY_ADDR": "10.65.0.2",
    "NUM_TRAINERS": "8",
}

WRONG = {
    "queue-said": (
        {"WORKER_MODE": "queue"},
        "MULTI_NODE: a worker of a serverless endpoint is one",
    ),
    "balancer-said": ({"WORKER_MODE": "load-balancer"}, "MULTI_NODE: a worker of a serverless"),
    "queue-found": (
        {"WORKER_MODE": "auto", "RUNPOD_WEBHOOK_GET_JOB": "http://x"},
        "MULTI_NODE: a worker of a serverless",
    ),
    "one-machine": (
        {"NUM_NODES": "1", "NODE_RANK": "0"},
        "NUM_NODES: a cluster needs several machines",
    ),
    "rank": ({"NODE_RANK": "2"}, "NODE_RANK: no such machine; got '2'; expected 0 to 1"),
    "address": ({"PRIMARY_ADDR": ""}, "PRIMARY_ADDR: not set"),
    "a-gpu-is-missing": ({"NUM_TRAINERS": "7"}, "NUM_TRAINERS: not the number of visible GPUs"),
    "ray": ({"DISTRIBUTED_EXECUTOR_BACKEND": "ray"}, "starts vLLM on each machine itself"),
    "uneven": (
        {"TENSOR_PARALLEL_SIZE": "3", "PIPELINE_PARALLEL_SIZE": "3"},
        "9 processes together, which 2 machines cannot share evenly",
    ),
    "too-many": (
        {"TENSOR_PARALLEL_SIZE": "8", "PIPELINE_PARALLEL_SIZE": "4"},
        "need 32 GPUs together; got '8'; expected at most 16, the GPUs that are visible on 2",
    ),
}


def load(gpus=8, **changes):
    return load_settings({**CLUSTER, **changes}, machine=MachineInfo(gpus, 64 * GIB))


@pytest.mark.parametrize(("changes", "text"), WRONG.values(), ids=WRONG)
def test_cluster_that_cannot_work_is_refused_before_the_start(changes, text):
    with pytest.raises(ConfigurationError) as caught:
        load(**changes)
    assert len(caught.value.problems) == 1
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "sizes"),
    [
        ({}, (8, 2, 1)),
        ({"NUM_NODES": "4"}, (8, 4, 1)),
        ({"TENSOR_PARALLEL_SIZE": "16"}, (16, 1, 1)),
        ({"TENSOR_PARALLEL_SIZE": "4"}, (4, 4, 1)),
        ({"PIPELINE_PARALLEL_SIZE": "4"}, (4, 4, 1)),
        ({"DATA_PARALLEL_SIZE": "2"}, (8, 1, 2)),
        ({"DATA_PARALLEL_SIZE": "4"}, (4, 1, 4)),
        ({"DATA_PARALLEL_SIZE": "16"}, (1, 1, 16)),
    ],
    ids=str,
)
def test_unset_sizes_use_all_gpus_of_all_machines(changes, sizes):
    values = {item.option.vllm_name: item.value for item in load(**changes).values}
    names = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
    assert tuple(values.get(name) or 1 for name in names) == sizes


def test_machine_of_a_cluster_that_serves_alone_is_warned_and_keeps_its_gpus():
    settings = load(MULTI_NODE="")
    assert [warning.where for warning in settings.warnings] == ["NUM_NODES"]
    assert "--nnodes" not in settings.engine_arguments()
    assert settings.cluster.size == 1
    assert not settings.cluster.is_follower


@pytest.mark.parametrize("rank", [0, 1])
def test_all_machines_but_the_first_follow(rank):
    assert load(NODE_RANK=str(rank)).cluster.is_follower == bool(rank)


def test_network_is_that_of_the_nodes_address():
    cluster = ClusterSettings(multi_node=True, own_address="127.0.0.1/8")
    assert network_variables(cluster, {"GLOO_SOCKET_IFNAME": "own"}) == {
        "VLLM_HOST_IP": "127.0.0.1",
        "NCCL_SOCKET_IFNAME": "lo",
    }


@pytest.mark.parametrize("address", ["192.0.2.1", "fe80::1", "node-1", ""])
def test_address_of_no_interface_here_names_none(address):
    assert find_interface(address) is None
