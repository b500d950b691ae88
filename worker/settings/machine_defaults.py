"""The source with the lowest precedence: defaults of vLLM options; some depend on the machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.machine import GIB, MachineInfo
from worker.settings.endpoint import STORE
from worker.settings.registry import VLLM
from worker.settings.sources import SettingsSource
from worker.settings.values import Values
from worker.vllm_options.overrides import OVERRIDES

DEFAULT = "default"
NO_GPU = "default (no GPU)"
FROM_LORA_ALLOWED = "from LORA_ALLOWED"

PROFILE_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "fast": {
        "compilation_config": {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY"},
        "cudagraph_capture_sizes": [1, 2, 4, 8, 16, 32, 64, 128, 256],
    },
    "throughput": {"optimization_level": "3"},
}
"""Start-up profile -> vLLM's options on a GPU; `balanced` leaves them to vLLM."""

ONE_SERVER_OPTIONS = ("enable_fault_tolerance", "enable_elastic_ep")
ONE_SERVER_VARIABLES = ("VLLM_ALLOW_RUNTIME_LORA_UPDATING", STORE)
"""Features that require a single API server (state is not shared): runtime LoRA loading, stored
responses."""

MOST_API_SERVERS = 4
"""One prepares the requests of a burst one after the other, which keeps a fast engine waiting
(docs/performance.md); more were not measured."""

CORES_PER_API_SERVER = 4
"""One for itself; the engine, the worker and vLLM's threads need the others."""

JOBS_PER_API_SERVER = 64
"""With no more at once, one keeps up."""

GIB_PER_API_SERVER = 8
"""Main memory, GiB: 1.5 for the process; up to 4 for the images it remembers; some to spare."""

LORA_OPTIONS = {"enable_lora": True, "max_lora_rank": 32, "max_loras": 4}
"""With LORA_ALLOWED: ranks above 32 are rare, and with vLLM's single adapter in a batch, requests
for other adapters wait."""
MAX_CPU_LORAS = 16
"""Adapters that stay in main memory with LORA_ALLOWED; vLLM keeps no more than a batch has."""

CPU_SHARE = 8
"""Without a GPU the KV cache gets this fraction (1/n) of main memory …"""
CPU_MOST_GIB = 4
"""… and at most this, in GiB; loading the model needs the rest."""


class MachineDefaultsSource(SettingsSource):
    """Defaults of vLLM's options, chosen for the machine and for what other sources set."""

    def read(self) -> Values:
        """Return the defaults of the options that no other source sets."""
        self._values = Values()
        machine = self.inputs.machine
        for key, override in OVERRIDES.items():
            special = override.default_gpu if machine.has_gpu else override.default_cpu
            if special is not None:
                self._set(key, special, "default (GPU)" if machine.has_gpu else NO_GPU)
            elif override.default is not None:
                self._set(key, override.default, DEFAULT)
        if machine.has_gpu:
            options = PROFILE_OPTIONS.get(self._get("startup", "profile"), {})
            for key, value in options.items():
                self._set(key, value, "from STARTUP_PROFILE")
        # vLLM refuses fewer tokens than sequences per step; a default must not break that.
        sequences, tokens = (
            self._values.find("max_num_seqs"),
            self._option("max_num_batched_tokens"),
        )
        if sequences is not None and tokens is not None:
            self._set("max_num_seqs", min(sequences.value, tokens), sequences.origin)
        self._set_adapters()
        if machine.has_gpu:
            self._set_api_servers(machine)
            self._set_parallel_sizes(machine.gpus)
        elif not self.inputs.environ.get("VLLM_CPU_KVCACHE_SPACE"):
            # vLLM would reserve a share of main memory and fail where less is free.
            gib = max(1, min(CPU_MOST_GIB, machine.memory_bytes // GIB // CPU_SHARE))
            self._set("kv_cache_memory_bytes", gib * GIB, NO_GPU)
        return self._values

    def _set(self, key: str, value: Any, origin: str) -> None:
        if self.inputs.find(key) is None:
            self._values.set(key, value, origin)

    def _get(self, group: str, name: str) -> Any:
        """Return the value of a higher source, else the worker's own default."""
        default = None
        if group != VLLM:
            default = getattr(self.settings_cls.model_fields[group].default, name)
        return self.current_state.get(group, {}).get(name, default)

    def _option(self, key: str) -> Any:
        return self._get(VLLM, key)

    @property
    def _machines(self) -> int:
        """Machines that serve one model together."""
        return int(self._get("cluster", "nodes")) if self._get("cluster", "multi_node") else 1

    def _set_adapters(self) -> None:
        """Make room for the LoRA adapters that requests may name."""
        if self._get("adapters", "lora_allowed") is None or self._option("enable_lora") is False:
            return
        for key, value in LORA_OPTIONS.items():
            self._set(key, value, FROM_LORA_ALLOWED)
        in_a_batch = self._option("max_loras") or LORA_OPTIONS["max_loras"]
        self._set("max_cpu_loras", max(MAX_CPU_LORAS, in_a_batch), FROM_LORA_ALLOWED)

    def _set_api_servers(self, machine: MachineInfo) -> None:
        """Let several API servers serve one engine; for more engines vLLM chooses."""
        shares_requests = (
            self._machines == 1
            and self._option("data_parallel_size") in (None, 1)
            and not any(self._option(key) for key in ONE_SERVER_OPTIONS)
            and not any(self.inputs.environ.get(name) for name in ONE_SERVER_VARIABLES)
        )
        load = -(-self._get("serving", "max_concurrency") // JOBS_PER_API_SERVER)
        room = machine.memory_bytes // (GIB_PER_API_SERVER * GIB)
        servers = min(MOST_API_SERVERS, load, room, machine.cores // CORES_PER_API_SERVER)
        if shares_requests and servers > 1 and self._get("startup", "profile") != "fast":
            self._set("api_server_count", servers, f"default (cores: {machine.cores})")

    def _set_parallel_sizes(self, gpus: int) -> None:
        """Use all GPUs: tensor parallel in a machine, pipeline parallel between machines."""
        if self._option("device_ids") is not None:
            return
        machines = self._machines
        origin = (
            f"default (GPUs: {gpus})" if machines == 1 else f"default (GPUs: {machines} x {gpus})"
        )
        replica = gpus * machines // (self._option("data_parallel_size") or 1)
        tensor = min(gpus, replica // (self._option("pipeline_parallel_size") or 1))
        self._set("tensor_parallel_size", max(1, tensor), origin)
        if machines > 1:
            chosen = self._option("tensor_parallel_size") or max(1, tensor)
            self._set("pipeline_parallel_size", max(1, replica // chosen), origin)
