"""Values that reach vLLM although nobody set them; some depend on the machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from worker.machine import GIB, MachineInfo
from worker.settings.catalogue import Catalogue
from worker.settings.cluster import count_machines
from worker.settings.resolve import Resolved
from worker.settings.startup import OPTIMIZATION_LEVELS, choose_api_servers
from worker.vllm_options.overrides import OVERRIDES

DEFAULT = "default"
NO_GPU = "default (no GPU)"
STARTUP_PROFILE = "STARTUP_PROFILE"
MAX_CONCURRENCY = "MAX_CONCURRENCY"
ONE_SERVER_OPTIONS = ("enable_fault_tolerance", "enable_elastic_ep")
ONE_SERVER_VARIABLES = ("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "VLLM_ENABLE_RESPONSES_API_STORE")
"""What vLLM has with one API server only, or what a second one would not know of: adapters that
come and go, and the answers of `/v1/responses` that it keeps."""
CPU_SHARE = 8
"""Without a GPU the KV cache gets this fraction (1/n) of main memory …"""
CPU_MOST_GIB = 4
"""… and at most this, in GiB; loading the model needs the rest."""


def promise_defaults(
    given: Mapping[str, Resolved],
    catalogue: Catalogue,
    machine: MachineInfo,
    environ: Mapping[str, str],
) -> dict[str, Resolved]:
    """Return the promised defaults of engine options that nobody set, by the option's name.

    Args:
        given: What somebody set.
        catalogue: All options.
        machine: What the defaults are chosen for.
        environ: For variables that vLLM reads itself and that stand for an option.
    """

    def value_of(key: str, fallback: Any) -> Any:
        resolved = given.get(catalogue.by_engine_key[key].name)
        return fallback if resolved is None else resolved.value

    values = _declared(machine)
    startup = given.get(STARTUP_PROFILE)
    if startup is not None and startup.value in OPTIMIZATION_LEVELS:
        level = OPTIMIZATION_LEVELS[startup.value]
        values["optimization_level"] = (level, f"from {STARTUP_PROFILE}")
    # For several engines vLLM chooses its API servers itself.
    alone = count_machines(given) == 1 and value_of("data_parallel_size", 1) == 1
    several = not any(value_of(key, False) for key in ONE_SERVER_OPTIONS) and not any(
        environ.get(name) for name in ONE_SERVER_VARIABLES
    )
    if machine.has_gpu and alone and several:
        values |= _share_requests(given, catalogue, machine)
    # vLLM refuses fewer tokens than sequences per step; a default must not be what breaks that.
    sequences, source = values["max_num_seqs"]
    values["max_num_seqs"] = (min(sequences, value_of("max_num_batched_tokens", sequences)), source)
    if machine.has_gpu:
        if value_of("device_ids", None) is None:
            values |= _spread(machine.gpus, count_machines(given), value_of)
    elif not environ.get("VLLM_CPU_KVCACHE_SPACE"):
        # vLLM would reserve a share of main memory and fail where less is free; a size skips that.
        gib = max(1, min(CPU_MOST_GIB, machine.memory_bytes // GIB // CPU_SHARE))
        values["kv_cache_memory_bytes"] = (gib * GIB, NO_GPU)
    defaults: dict[str, Resolved] = {}
    for key, (value, source) in values.items():
        option = catalogue.by_engine_key[key]
        if option.name not in given:
            defaults[option.name] = Resolved(option, value, source, option.name)
    return defaults


def _spread(
    gpus: int, machines: int, value_of: Callable[[str, Any], Any]
) -> dict[str, tuple[Any, str]]:
    """Return sizes with which all GPUs work: layers shared in a machine, passed on between them.

    Args:
        gpus: Of each machine.
        machines: That serve one model together.
        value_of: Returns what was set, or what it is given as second argument.
    """
    source = f"default (GPUs: {gpus})" if machines == 1 else f"default (GPUs: {machines} x {gpus})"
    replica = gpus * machines // value_of("data_parallel_size", 1)
    tensor = max(1, min(gpus, replica // value_of("pipeline_parallel_size", 1)))
    sizes = {"tensor_parallel_size": (tensor, source)}
    if machines > 1:
        chosen = value_of("tensor_parallel_size", tensor)
        sizes["pipeline_parallel_size"] = (max(1, replica // chosen), source)
    return sizes


def _share_requests(
    given: Mapping[str, Resolved], catalogue: Catalogue, machine: MachineInfo
) -> dict[str, tuple[Any, str]]:
    """Return how many API servers fit the load and the machine, if that is more than one."""

    def setting_of(name: str) -> Any:
        resolved = given.get(name)
        return catalogue.by_variable[name].default if resolved is None else resolved.value

    servers = choose_api_servers(
        setting_of(STARTUP_PROFILE),
        jobs=setting_of(MAX_CONCURRENCY),
        cores=machine.cores,
        memory_bytes=machine.memory_bytes,
    )
    source = f"default (cores: {machine.cores})"
    return {"api_server_count": (servers, source)} if servers > 1 else {}


def _declared(machine: MachineInfo) -> dict[str, tuple[Any, str]]:
    """Return the defaults that the overlay declares for such a machine, with their origin."""
    values: dict[str, tuple[Any, str]] = {}
    for key, overlay in OVERRIDES.items():
        special = overlay.default_gpu if machine.has_gpu else overlay.default_cpu
        if overlay.default is not None:
            values[key] = (overlay.default, DEFAULT)
        if special is not None:
            values[key] = (special, "default (GPU)" if machine.has_gpu else NO_GPU)
    return values
