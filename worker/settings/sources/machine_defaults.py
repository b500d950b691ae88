"""Values that reach vLLM although nobody set them; some depend on the machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.machine import GIB
from worker.settings.option import VLLM
from worker.settings.sources.source import SettingsSource
from worker.settings.startup import OPTIMIZATION_LEVELS, choose_api_servers
from worker.settings.values import ResolvedValue, Values
from worker.vllm_options.overrides import OVERRIDES

DEFAULT = "default"
NO_GPU = "default (no GPU)"
ONE_SERVER_OPTIONS = ("enable_fault_tolerance", "enable_elastic_ep")
ONE_SERVER_VARIABLES = ("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "VLLM_ENABLE_RESPONSES_API_STORE")
"""Features that require a single API server (state is not shared): runtime LoRA loading, stored
responses."""

CPU_SHARE = 8
"""Without a GPU the KV cache gets this fraction (1/n) of main memory …"""
CPU_MOST_GIB = 4
"""… and at most this, in GiB; loading the model needs the rest."""

Defaults = dict[str, tuple[Any, str]]
"""Value and origin, by vLLM's name of the option."""


class MachineDefaultsSource(SettingsSource):
    """Defaults of vLLM's options, chosen for the machine and for what other sources set."""

    def read(self) -> Values:
        """Return the defaults of the options that no other source sets."""
        values: Values = {}
        for key, (value, origin) in self._compute().items():
            option = self.inputs.registry.by_vllm_name[key]
            if self.inputs.find(option.name) is None:
                values[option.name] = ResolvedValue(option, value, origin, option.name)
        return values

    def _get(self, group: str, name: str, fallback: Any = None) -> Any:
        """Return what a higher source set."""
        return self.current_state.get(group, {}).get(name, fallback)

    def _option(self, key: str, fallback: Any) -> Any:
        return self._get(VLLM, key, fallback)

    @property
    def _machines(self) -> int:
        """Machines that serve one model together."""
        return int(self._get("cluster", "nodes", 1)) if self._get("cluster", "multi_node") else 1

    def _compute(self) -> Defaults:
        machine, environ = self.inputs.machine, self.inputs.environ
        values = self._declared()
        profile = self._get("startup", "profile")
        if profile in OPTIMIZATION_LEVELS:
            level = OPTIMIZATION_LEVELS[profile]
            values["optimization_level"] = (level, "from STARTUP_PROFILE")
        if machine.has_gpu and self._shares_requests():
            values |= self._api_servers()
        # vLLM refuses fewer tokens than sequences per step; a default must not break that.
        sequences, origin = values["max_num_seqs"]
        tokens = self._option("max_num_batched_tokens", sequences)
        values["max_num_seqs"] = (min(sequences, tokens), origin)
        if machine.has_gpu:
            if self._option("device_ids", None) is None:
                values |= self._parallel_sizes()
        elif not environ.get("VLLM_CPU_KVCACHE_SPACE"):
            # vLLM would reserve a share of main memory and fail where less is free.
            gib = max(1, min(CPU_MOST_GIB, machine.memory_bytes // GIB // CPU_SHARE))
            values["kv_cache_memory_bytes"] = (gib * GIB, NO_GPU)
        return values

    def _declared(self) -> Defaults:
        """Return the defaults that are declared for such a machine."""
        has_gpu = self.inputs.machine.has_gpu
        values: Defaults = {}
        for key, override in OVERRIDES.items():
            special = override.default_gpu if has_gpu else override.default_cpu
            if special is not None:
                values[key] = (special, "default (GPU)" if has_gpu else NO_GPU)
            elif override.default is not None:
                values[key] = (override.default, DEFAULT)
        return values

    def _shares_requests(self) -> bool:
        """Whether several API servers may serve one engine; for more engines vLLM chooses."""
        environ: Mapping[str, str] = self.inputs.environ
        return (
            self._machines == 1
            and self._option("data_parallel_size", 1) == 1
            and not any(self._option(key, False) for key in ONE_SERVER_OPTIONS)
            and not any(environ.get(name) for name in ONE_SERVER_VARIABLES)
        )

    def _api_servers(self) -> Defaults:
        by_variable, machine = self.inputs.registry.by_variable, self.inputs.machine
        servers = choose_api_servers(
            self._get("startup", "profile", by_variable["STARTUP_PROFILE"].default),
            jobs=self._get("serving", "max_concurrency", by_variable["MAX_CONCURRENCY"].default),
            cores=machine.cores,
            memory_bytes=machine.memory_bytes,
        )
        origin = f"default (cores: {machine.cores})"
        return {"api_server_count": (servers, origin)} if servers > 1 else {}

    def _parallel_sizes(self) -> Defaults:
        """Return sizes that use all GPUs: tensor parallel in a machine, pipeline between them."""
        gpus, machines = self.inputs.machine.gpus, self._machines
        origin = f"default (GPUs: {gpus})"
        if machines > 1:
            origin = f"default (GPUs: {machines} x {gpus})"
        replica = gpus * machines // self._option("data_parallel_size", 1)
        tensor = max(1, min(gpus, replica // self._option("pipeline_parallel_size", 1)))
        sizes: Defaults = {"tensor_parallel_size": (tensor, origin)}
        if machines > 1:
            chosen = self._option("tensor_parallel_size", tensor)
            sizes["pipeline_parallel_size"] = (max(1, replica // chosen), origin)
        return sizes
