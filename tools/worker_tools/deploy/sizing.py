"""Compute disk, start time and concurrent requests of one worker from the model."""

from __future__ import annotations

import math

from worker.profile import find_variant
from worker.profile.memory import request_bytes
from worker.settings.groups import ServingSettings
from worker.settings.settings import Settings
from worker.sizing import SizingTarget
from worker.sizing.placement import spread
from worker_tools.deploy.gpus import Gpus

GB = 10**9
"""RunPod's unit of disk sizes."""

DISK_FREE_GB = 20
"""Space for compiled code, logs and caches, in addition to the model."""

DISK_SHARE = 1.1
"""Size of all files relative to the weights: tokenizer, configuration, download metadata."""

DISK_STEP_GB = 10

DOWNLOAD_BYTES_PER_S = 200e6
"""Assumed rate of a slow download. Only the time limit of a start depends on it."""

LOADING_S = 300
"""Maximum time of a start without the download."""

STEP_S = 60

PLANNED_TOKENS = 4096
"""Prompt and answer of the request that scaling is planned with."""

EXECUTION_S = 600
"""RunPod's own limit for one job, set explicitly.

Source: https://docs.runpod.io/serverless/endpoints/endpoint-configurations."""


def disk_gb(target: SizingTarget, *, on_volume: bool) -> int | None:
    """Return the container disk that a worker needs, GB; None if the weights are not known.

    Args:
        target: The configuration.
        on_volume: Whether the model goes to a network volume instead.
    """
    if on_volume:
        return DISK_FREE_GB
    stored = stored_bytes(target)
    if stored is None:
        return None
    needed = stored * DISK_SHARE / GB + DISK_FREE_GB
    return math.ceil(needed / DISK_STEP_GB) * DISK_STEP_GB


def stored_bytes(target: SizingTarget) -> int | None:
    """Return the size of the weights as they are downloaded, bytes; None if not known.

    vLLM may load fewer bytes if it quantises the weights itself.
    """
    requirement = target.requirement
    if requirement is None:
        return None
    fact = requirement.profile.about.fact("weight_bytes")
    if fact is None or find_variant(requirement.profile, target.label) is not None:
        return requirement.model.weight_bytes
    return max(requirement.model.weight_bytes, int(fact.value))


def start_seconds(target: SizingTarget) -> int:
    """Return how long a start may take before RunPod stops the worker, seconds.

    A configured limit has priority; else the platform's limit, or more for a large model.
    """
    chosen = math.ceil(target.settings.serving.start_timeout_s)
    stored = stored_bytes(target)
    if stored is None or is_set(target.settings, "START_TIMEOUT_S"):
        return chosen
    needed = stored / DOWNLOAD_BYTES_PER_S + LOADING_S
    return max(chosen, math.ceil(needed / STEP_S) * STEP_S)


def default_start_seconds() -> int:
    """Return RunPod's default limit of a start, seconds."""
    return math.ceil(ServingSettings().start_timeout_s)


def execution_seconds(settings: Settings) -> int:
    """Return how long one job may run, seconds: the configured limit, else RunPod's."""
    if is_set(settings, "REQUEST_TIMEOUT_S"):
        return math.ceil(settings.serving.request_timeout_s)
    return EXECUTION_S


def is_set(settings: Settings, name: str) -> bool:
    """Return whether a setting was set explicitly."""
    return any(item.option.name == name and not item.is_default for item in settings.values)


def requests_per_worker(target: SizingTarget, gpus: Gpus) -> int:
    """Return how many concurrent requests one worker handles before another is started.

    As many of `PLANNED_TOKENS` as the smallest cache holds, up to the worker's concurrency.
    """
    settings = target.settings
    sequences = settings.values.get("max_num_seqs")
    most = min(int(sequences), settings.serving.max_concurrency)
    if target.requirement is None or not gpus.placements:
        return most
    requirement = spread(target, gpus.count)
    planned = min(PLANNED_TOKENS, gpus.placements[0].fit.context)
    each = request_bytes(requirement.model.attention, planned, requirement.layout)
    if each == 0:
        return most
    cache = min(item.fit.cache_bytes for item in gpus.placements)
    return max(1, min(most, cache // each))
