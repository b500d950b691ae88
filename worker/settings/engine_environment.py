"""Environment variables of the engine's process, and the folders of caches."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

from worker.models.adapters import TIMEOUT_VARIABLE, VARIABLE
from worker.models.cached import HUB, VOLUME
from worker.settings.endpoint import ClusterSettings
from worker.settings.groups import WorkerSettings

CACHE_VARIABLES = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")
"""Setting any of them means that the user has placed the model cache."""

INTERFACE_VARIABLES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME")
"""The network interface that two libraries use between vLLM's machines."""

CACHE_FOLDER = "worker-cache"
"""Below the volume's folder."""

MAX_ADAPTER_WAIT_S = 120.0
"""Longest time that a request waits for its LoRA adapter, seconds; at most half of the time after
which an engine without progress counts as hung."""


def engine_environment(settings: WorkerSettings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to add for the engine's process. Secrets are here, not in argv."""
    variables: dict[str, str] = {
        "VLLM_LOGGING_LEVEL": settings.logging.engine_level,
        "VLLM_MAX_STOP_STRINGS": str(settings.requests.max_stop_strings),
    }
    if settings.model.hf_token is not None:
        variables["HF_TOKEN"] = settings.model.hf_token.get_secret_value()
    if settings.adapters.lora_allowed is not None:
        wait_s = min(MAX_ADAPTER_WAIT_S, settings.serving.engine_stall_timeout_s / 2)
        variables |= {VARIABLE: settings.adapters.lora_allowed, TIMEOUT_VARIABLE: str(wait_s)}
    base = base_path(settings)
    if base is not None and not any(environ.get(name) for name in CACHE_VARIABLES):
        hub = base / HUB
        variables |= {"HF_HOME": str(hub.parent), "HF_HUB_CACHE": str(hub)}
    return variables


def network_variables(cluster: ClusterSettings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that keep the machines' traffic inside the cluster's network.

    Args:
        cluster: The settings.
        environ: The worker's environment; what it has already stays.
    """
    if not cluster.multi_node or cluster.own_address is None:
        return {}
    # Some platforms write the length of the network behind the address.
    address = cluster.own_address.partition("/")[0]
    variables = {"VLLM_HOST_IP": address}
    if interface := find_interface(address):
        variables |= dict.fromkeys(INTERFACE_VARIABLES, interface)
    return _unset(variables, environ)


def find_interface(address: str) -> str | None:
    """Return the network interface of this machine with an IPv4 address; None if there is none."""
    import psutil  # Only a cluster needs it.

    for name, addresses in psutil.net_if_addrs().items():
        if any(a.family == socket.AF_INET and a.address == address for a in addresses):
            return str(name)
    return None


def cache_variables(local: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that put all caches of compiled code below one local folder.

    vLLM keys its own caches by configuration, GPU and versions; Triton and FlashInfer theirs by
    source and version.

    Args:
        local: The folder.
        environ: The worker's environment; what it has already stays.
    """
    variables = {
        "VLLM_CACHE_ROOT": str(local / "vllm"),
        "TRITON_CACHE_DIR": str(local / "triton"),
        "FLASHINFER_WORKSPACE_BASE": str(local / "flashinfer"),
        # Remembers how much memory a model takes on this GPU; measuring it again is most of a
        # start. vLLM uses it only for the same configuration, GPU and at least as much memory.
        "VLLM_ENABLE_STARTUP_PLAN": "1",
    }
    return _unset(variables, environ)


def _unset(variables: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if not environ.get(name)}


def choose_cache(settings: WorkerSettings, version: str) -> Path | None:
    """Return the folder that keeps caches between starts, None if there is none.

    Args:
        settings: The settings.
        version: Release of vLLM; each has its own caches.
    """
    base = base_path(settings)
    root = settings.startup.cache_path or (None if base is None else base / CACHE_FOLDER)
    return None if root is None else root / f"vllm-{version}"


def base_path(settings: WorkerSettings) -> Path | None:
    """Return the persistent folder, None if there is none."""
    return settings.storage.base_path or (VOLUME if VOLUME.is_dir() else None)
