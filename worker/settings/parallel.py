"""Rules about GPUs and machines."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

from worker.errors import Problem
from worker.models.name import served_model_name
from worker.profile import find_profile
from worker.profile.attention import count_kv_heads
from worker.settings.endpoint import ENDPOINT, JOB_SOURCE, STORE
from worker.settings.sources import Inputs
from worker.settings.values import Values

SWITCH = "MULTI_NODE"
ANCHOR = "deployment.md#several-gpus-and-machines"

AFFINITY = "X-Runpod-Worker-Id"
"""Header by which RunPod's load balancer finds the same worker again.

Source: https://docs.runpod.io/serverless/load-balancing/worker-affinity."""

RESPONSES_ANCHOR = "clients.md#stored-responses"

SIZES = (
    *("tensor_parallel_size", "pipeline_parallel_size", "prefill_context_parallel_size"),
    "data_parallel_size",
)
"""Options whose product is the number of GPUs that work together."""


def check_parallel(values: Values, inputs: Inputs) -> Iterator[Problem]:
    """Yield the problems of the parallel sizes, for this model and these machines."""
    if values.get("multi_node"):
        for problem in _check_cluster(values, inputs):
            yield dataclasses.replace(problem, anchor=ANCHOR)
    if values.get("distributed_executor_backend") != "ray":
        yield from _check_gpus(values, inputs)
    elif values.get("multi_node"):
        message = f"{SWITCH} starts vLLM on each machine itself, without Ray"
        yield values.problem("distributed_executor_backend", message, "unset, or mp")
    yield from _check_heads(values, inputs)


def warn_alone(values: Values) -> Iterator[Problem]:
    """Yield a warning if this machine of a cluster serves by itself."""
    if values.get("num_nodes") > 1 and not values.get("multi_node"):
        message = f"this machine serves alone; {SWITCH}=true lets all of them serve one model"
        yield dataclasses.replace(values.problem("num_nodes", message), anchor=ANCHOR)


def warn_stored_responses(values: Values, inputs: Inputs) -> Iterator[Problem]:
    """Yield warnings if stored responses (`store` of the Responses API) can be unavailable.

    vLLM keeps them in the memory of one API server.
    """
    if inputs.environ.get(STORE, "").strip().lower() not in ("1", "true"):
        return
    servers = values.get("api_server_count")
    if servers is not None and servers > 1:
        message = f"each of {servers} API servers keeps its own stored responses"
        yield Problem(STORE, message, expected="API_SERVER_COUNT=1", anchor=RESPONSES_ANCHOR)
    if inputs.environ.get(JOB_SOURCE):
        message = "each worker keeps its own stored responses; any worker may get a follow-up"
        wanted = "one worker at most, or a load balancer endpoint"
        yield Problem(STORE, message, expected=wanted, anchor=RESPONSES_ANCHOR)
    elif inputs.environ.get(ENDPOINT):
        message = "each worker keeps its own stored responses; a follow-up may reach another worker"
        wanted = f"one worker at most, or requests with {AFFINITY}"
        yield Problem(STORE, message, expected=wanted, anchor=RESPONSES_ANCHOR)


def _check_cluster(values: Values, inputs: Inputs) -> Iterator[Problem]:
    """Yield the problems of a cluster's settings."""
    mode = values.get("worker_mode")
    is_serverless = inputs.environ.get(JOB_SOURCE) or inputs.environ.get(ENDPOINT)
    if mode in ("queue", "load-balancer") or (mode == "auto" and is_serverless):
        message = "a worker of a serverless endpoint is one machine"
        wanted = "a pod: an Instant Cluster, or WORKER_MODE=pod"
        yield values.problem("multi_node", message, wanted)
    nodes = values.get("num_nodes")
    if nodes < 2:
        yield values.problem(
            "num_nodes", "a cluster needs several machines", "at least 2; RunPod sets it"
        )
    elif values.get("node_rank") >= nodes:
        yield values.problem("node_rank", "no such machine", f"0 to {nodes - 1}, by NUM_NODES")
    if values.get("primary_addr") is None:
        wanted = "the address of node 0; RunPod sets it"
        yield values.problem("primary_addr", "not set", wanted)
    stated, machine = values.get("num_trainers"), inputs.machine
    if stated is not None and machine.has_gpu and stated != machine.gpus:
        wanted = f"{machine.gpus}, the GPUs that this machine sees"
        yield values.problem("num_trainers", "not the number of visible GPUs", wanted)


def _check_gpus(values: Values, inputs: Inputs) -> Iterator[Problem]:
    """Yield a problem if the sizes need more GPUs than available, or cannot be distributed."""
    machines = values.get("num_nodes") if values.get("multi_node") else 1
    sizes = {key: values.get(key) or 1 for key in SIZES}
    if machines == 1:
        local = values.get("data_parallel_size_local")
        sizes["data_parallel_size"] = local or sizes["data_parallel_size"]
    needed, there = math.prod(sizes.values()), inputs.machine.gpus * machines
    key = next((key for key in SIZES if values.find(key) and sizes[key] > 1), SIZES[-1])
    where = "" if machines == 1 else f" on {machines} machines"
    if inputs.machine.has_gpu and needed > there:
        message = f"the parallel sizes need {needed} GPUs together"
        yield values.problem(key, message, f"at most {there}, the GPUs that are visible{where}")
    elif needed % machines:
        message = f"the parallel sizes need {needed} processes together, which {machines} machines"
        yield values.problem(key, f"{message} cannot share evenly", f"a multiple of {machines}")


def _check_heads(values: Values, inputs: Inputs) -> Iterator[Problem]:
    """Yield a problem if the model's key-value heads cannot be spread over the GPUs of a layer.

    vLLM gives each GPU whole heads: several, or one that others have, too. A size that nobody
    chose counts only on the machine itself: a plan tries others.
    """
    found = values.find("tensor_parallel_size")
    if found is None or found.value == 1 or (found.is_default and not inputs.is_local):
        return
    name = served_model_name(str(values.get("model")))
    known = find_profile(name, inputs.profile, inputs.profiles)
    fact = None if known is None else known.about.fact("attention")
    if fact is None or not fact.confirmed:
        return
    counts, size = count_kv_heads(fact.value), found.value
    bad = [heads for heads in counts if not shares_evenly(heads, size)]
    if bad:
        most = max(n for n in range(1, size) if all(shares_evenly(h, n) for h in counts))
        message = f"{size} GPUs cannot share each layer: the model has {min(bad)} key-value heads"
        rest = size // most
        more = f", with PIPELINE_PARALLEL_SIZE={rest}" if rest * most == size else ""
        problem = found.problem(message, f"{found.option.name}={most}{more}")
        yield dataclasses.replace(problem, anchor=ANCHOR)


def shares_evenly(heads: int, gpus: int) -> bool:
    """Return whether vLLM can spread `heads` key-value heads over `gpus` GPUs."""
    return heads % gpus == 0 if heads >= gpus else gpus % heads == 0
