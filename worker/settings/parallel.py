"""Rules over GPUs and machines: what they can share, and what each of them must have."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

from worker.errors import Problem
from worker.models.name import served_model_name
from worker.profile import Profile, find_profile
from worker.profile.attention import count_kv_heads
from worker.settings.cluster import ClusterSettings
from worker.settings.mode import ENDPOINT, JOB_SOURCE
from worker.settings.rules import ConfigView

SWITCH = "MULTI_NODE"
ANCHOR = "deployment.md#several-gpus-and-machines"

SIZES = (
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "prefill_context_parallel_size",
    "data_parallel_size",
)
"""Options whose product is the number of GPUs that work together."""


def check_parallel(
    view: ConfigView, cluster: ClusterSettings, profile: Profile | None, profiles: Path
) -> Iterator[Problem]:
    """Yield what is wrong with the parallel sizes, for this model, on these machines.

    Args:
        view: The resolved values.
        cluster: The machines.
        profile: The profile that was read.
        profiles: The built-in profiles, for a model that no profile was read for.
    """
    if cluster.multi_node:
        yield from _check_cluster(view, cluster)
    yield from _check_gpus(view, cluster.size)
    yield from _check_heads(view, profile, profiles)


def warn_alone(view: ConfigView, cluster: ClusterSettings) -> Iterator[Problem]:
    """Yield a warning if this machine of a cluster serves by itself."""
    nodes = view.values["NUM_NODES"]
    if cluster.nodes > 1 and not cluster.multi_node:
        message = f"this machine serves alone; {SWITCH}=true lets all of them serve one model"
        yield Problem(nodes.location, message, got=str(nodes.value), anchor=ANCHOR)


def _check_cluster(view: ConfigView, cluster: ClusterSettings) -> Iterator[Problem]:
    """Yield what a cluster's machines lack, or do not agree about."""

    def problem(name: str, message: str, expected: str | None = None) -> Problem:
        found = view.values[name]
        got = None if found.value is None else str(found.value).lower()
        return Problem(found.location, message, got, expected, anchor=ANCHOR)

    mode = view.values["WORKER_MODE"].value
    serverless = view.environ.get(JOB_SOURCE) or view.environ.get(ENDPOINT)
    if mode in ("queue", "load-balancer") or (mode == "auto" and serverless):
        message = "a worker of a serverless endpoint is one machine"
        yield problem(SWITCH, message, "a pod: an Instant Cluster, or WORKER_MODE=pod")
    nodes, rank = cluster.nodes, cluster.rank
    if nodes < 2:
        yield problem("NUM_NODES", "one machine is no cluster", "at least 2; RunPod sets it")
    elif rank >= nodes:
        yield problem("NODE_RANK", "no such machine", f"0 to {nodes - 1}, by NUM_NODES")
    if cluster.first_address is None:
        yield problem("PRIMARY_ADDR", "not set", "the address of node 0; RunPod sets it")
    stated = cluster.gpus
    if stated is not None and view.machine.has_gpu and stated != view.machine.gpus:
        seen = f"{view.machine.gpus}, the GPUs that this machine sees"
        yield problem("NUM_TRAINERS", "another number of GPUs than there are", seen)
    if view.get("distributed_executor_backend") == "ray":
        message = f"{SWITCH} starts vLLM on each machine itself, without Ray"
        yield view.problem("distributed_executor_backend", message, "unset, or mp")


def _check_gpus(view: ConfigView, machines: int) -> Iterator[Problem]:
    """Yield a problem if the sizes ask for more GPUs than there are, or cannot be spread."""
    if view.get("distributed_executor_backend") == "ray":
        return
    sizes = {key: view.get(key) or 1 for key in SIZES}
    if machines == 1:
        sizes["data_parallel_size"] = (
            view.get("data_parallel_size_local") or sizes["data_parallel_size"]
        )
    needed, there = math.prod(sizes.values()), view.machine.gpus * machines
    key = next((key for key in SIZES if view.explicit(key) and sizes[key] > 1), SIZES[-1])
    where = "" if machines == 1 else f" on {machines} machines"
    if view.machine.has_gpu and needed > there:
        message = f"the parallel sizes need {needed} GPUs together"
        yield view.problem(key, message, f"at most {there}, the GPUs that are visible{where}")
    elif needed % machines:
        message = f"the parallel sizes need {needed} processes together, which {machines} machines"
        yield view.problem(key, f"{message} cannot share evenly", f"a multiple of {machines}")


def _check_heads(view: ConfigView, profile: Profile | None, profiles: Path) -> Iterator[Problem]:
    """Yield a problem if the model's key-value heads cannot be spread over the GPUs of a layer.

    vLLM gives each GPU whole heads: several, or one that others have, too. A size that nobody
    chose counts only on the machine itself: a plan tries others.
    """
    resolved = view.explicit("tensor_parallel_size")
    if resolved is None or resolved.value == 1:
        return
    if resolved.is_default and not view.is_local:
        return
    known = find_profile(served_model_name(str(view.get("model"))), profile, profiles)
    fact = None if known is None else known.about.fact("attention")
    if fact is None or not fact.confirmed:
        return
    counts = count_kv_heads(fact.value)
    size = resolved.value
    bad = [heads for heads in counts if not shares_evenly(heads, size)]
    if bad:
        heads = min(bad)
        most = max(n for n in range(1, size) if all(shares_evenly(h, n) for h in counts))
        message = f"{size} GPUs cannot share each layer: the model has {heads} key-value heads"
        option = view.registry.by_vllm_name["tensor_parallel_size"].name
        rest = size // most
        more = f", with {view.name('pipeline_parallel_size')}={rest}" if rest * most == size else ""
        found = view.problem("tensor_parallel_size", message, f"{option}={most}{more}")
        yield dataclasses.replace(found, anchor=ANCHOR)


def shares_evenly(heads: int, gpus: int) -> bool:
    """Tell whether vLLM can spread `heads` key-value heads over `gpus` GPUs."""
    return heads % gpus == 0 if heads >= gpus else gpus % heads == 0
