"""Patches of vLLM with which requests name LoRA adapters; only processes that run vLLM import it.

vLLM has resolvers of adapters too. It numbers their results in each API server by itself, so that
several servers would ask their engine for different adapters by one number; it hides why there is
none; and it opens the routes that load any path. `tests/e2e/test_adapter_contract.py` fails with
the reason when vLLM changes what is patched here.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from worker.engine import adapters, heartbeat
from worker.engine.adapters import Adapter, AdapterError, Fault
from worker.models.adapters import TIMEOUT_VARIABLE, VARIABLE, read_sources

RESOLVE = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"
"""vLLM's variable: requests may name adapters that are not loaded, and two routes load any path."""

FOREIGN_LAYERS = "Please verify that the loaded LoRA module is correct"
"""In vLLM's error for weights of layers that the model does not have."""

NO_LAYER = "it changes no layer that the model has under this name"
OTHER_LAYERS = ("experts", "lm_head", "embed_tokens")
"""Parts of the names of layers that vLLM finds in other ways than by the whole name."""

SHAPE = re.compile(r"its layer \S{1,200} has [\w ,]{1,200}, the model's \d+")
"""What `find_shape_fault` returns, within an error of the engine."""


def let_requests_name_adapters() -> None:
    """Make vLLM's API server load the adapters that requests name, if the settings allow any."""
    if VARIABLE not in os.environ:
        return
    from vllm.entrypoints.openai.models.serving import OpenAIServingModels
    from vllm.entrypoints.serve.engine.serving import BaseServing

    choose_default = BaseServing._get_active_default_mm_loras
    create, show = OpenAIServingModels.__init__, OpenAIServingModels.show_available_models

    @functools.wraps(create)
    def create_models(self: Any, *args: Any, **kwargs: Any) -> None:
        create(self, *args, **kwargs)
        self.lora_requests = LoadedAdapters(self.lora_requests)
        self.adapter_registry = adapters.AdapterRegistry(
            Path(os.environ[heartbeat.FOLDER], "adapters")
        )
        self.adapter_loader = adapters.AdapterLoader(
            read_sources(os.environ[VARIABLE]),
            self.adapter_registry,
            float(os.environ[TIMEOUT_VARIABLE]),
            functools.partial(check_config, self.engine_client.vllm_config.lora_config),
            functools.partial(add_adapter, self),
        )

    async def resolve(self: Any, lora_name: str) -> Any:
        try:
            adapter = await self.adapter_loader.load(lora_name)
        except AdapterError as error:
            raise translate(error) from None
        return keep(self, adapter)

    @functools.wraps(show)
    async def show_models(self: Any) -> Any:
        # Another server may have loaded some.
        for adapter in self.adapter_registry.loaded():
            if adapter.name not in self.lora_requests:
                keep(self, adapter)
        return await show(self)

    @functools.wraps(choose_default)
    def choose_configured(self: Any, request: Any) -> Any:
        # vLLM applies an adapter called `image` to all chats with images.
        found = choose_default(self, request)
        return None if found is not None and found.lora_int_id >= adapters.FIRST_ID else found

    BaseServing._get_active_default_mm_loras = choose_configured
    OpenAIServingModels.__init__ = create_models
    OpenAIServingModels.resolve_lora = resolve
    OpenAIServingModels.show_available_models = show_models


def open_names() -> None:
    """Let vLLM resolve unknown names, once the server has decided which routes it has."""
    if VARIABLE in os.environ:
        os.environ[RESOLVE] = "1"


class LoadedAdapters(dict[str, Any]):
    """vLLM's requests for adapters by name, without those whose files have gone.

    The engine reads an adapter again when a request needs it and it is not in memory any more. A
    missing file would end the engine.
    """

    def __contains__(self, name: object) -> bool:
        found = self.get(str(name))
        if found is None:
            return False
        return found.lora_int_id < adapters.FIRST_ID or adapters.holds_adapter(found.lora_path)


def keep(models: Any, adapter: Adapter) -> Any:
    """Remember an adapter and return vLLM's request for it."""
    from vllm.lora.request import LoRARequest

    request = LoRARequest(adapter.name, adapter.number, adapter.path)
    models.lora_requests[adapter.name] = request
    return request


async def add_adapter(models: Any, adapter: Adapter) -> None:
    """Load an adapter in the engine.

    Raises:
        AdapterError: The engine refuses it.
    """
    from vllm.lora.request import LoRARequest
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        await models.engine_client.add_lora(LoRARequest(adapter.name, adapter.number, adapter.path))
    except EngineDeadError:
        raise
    except Exception as error:  # noqa: BLE001  vLLM raises nothing more precise
        reason = explain(str(error))
        base = adapters.read_base_model(adapter.path)
        served = models.base_model_paths[0]
        if base is not None and base not in (served.name, served.model_path):
            reason += f"; it was made for {base}, and this endpoint serves {served.name}"
        raise AdapterError(Fault.UNUSABLE, adapter.name, reason) from None


def explain(text: str) -> str:
    """Return why the engine refused an adapter, without paths and code."""
    if found := SHAPE.search(text):
        return found[0]
    if NO_LAYER in text:
        return NO_LAYER
    if FOREIGN_LAYERS in text:
        return "it changes layers that the model does not have"
    return "vLLM cannot load its weights; the worker's log has the cause"


def translate(error: AdapterError) -> Exception:
    """Return vLLM's exception for an adapter that is not loaded."""
    from vllm.exceptions import GracefulHTTPError, VLLMNotFoundError, VLLMValidationError

    if error.fault is Fault.UNAVAILABLE:
        unavailable: Exception = GracefulHTTPError(str(error), HTTPStatus.SERVICE_UNAVAILABLE)
        return unavailable
    kind: Any = VLLMNotFoundError if error.fault is Fault.ABSENT else VLLMValidationError
    translated: Exception = kind(str(error))
    return translated


def check_config(lora_config: Any, config: Mapping[str, Any]) -> None:
    """Check an adapter's configuration as vLLM does before it loads the weights.

    Raises:
        ValueError: vLLM cannot use it.
    """
    from vllm.lora.peft_helper import PEFTHelper

    PEFTHelper.from_dict(dict(config)).validate_legal(lora_config)


def load_adapters_completely() -> None:
    """Make the engine refuse adapters of other shapes, and forget one that it cannot load.

    vLLM itself fills missing rows and columns with zeros, and ignores weights for layers that it
    does not find: the base model would answer under the adapter's name. It counts an adapter that
    failed as loaded: the next request would run with a part of it.
    """
    from vllm.distributed import get_pp_group
    from vllm.lora.worker_manager import LRUCacheWorkerLoRAManager as Manager

    load, add = Manager._load_adapter, Manager.add_adapter

    @functools.wraps(load)
    def load_checked(self: Any, lora_request: Any) -> Any:
        loaded = load(self, lora_request)
        if fault := find_shape_fault(loaded, self._adapter_manager):
            raise ValueError(fault)
        # Each stage of a pipeline has some of the layers only.
        if get_pp_group().world_size == 1 and changes_nothing(loaded, self._adapter_manager):
            raise ValueError(NO_LAYER)
        return loaded

    @functools.wraps(add)
    def add_or_forget(self: Any, lora_request: Any) -> bool:
        was_there = lora_request.lora_int_id in self.list_adapters()
        try:
            return bool(add(self, lora_request))
        except Exception:
            if not was_there:
                self._adapter_manager.remove_adapter(lora_request.lora_int_id)
            raise

    Manager._load_adapter = load_checked
    Manager.add_adapter = add_or_forget


def changes_nothing(loaded: Any, manager: Any) -> bool:
    """Return whether no weights of an adapter belong to a layer of the model.

    Args:
        loaded: vLLM's model of the adapter.
        manager: vLLM's manager of adapters, which has the model's layers.
    """
    if manager.is_pooling_model:
        return False  # vLLM finds their layers under two names.
    known = {*manager.modules}.union(*manager.packed_modules.values())
    return not any(
        name in known or any(part in name for part in OTHER_LAYERS) for name in loaded.loras
    )


def find_shape_fault(loaded: Any, manager: Any) -> str | None:
    """Return which weights of an adapter do not fit the model, None if all fit.

    Args:
        loaded: vLLM's model of the adapter.
        manager: vLLM's manager of adapters, which has the model's layers.
    """
    most = manager.lora_config.max_lora_rank
    for name, module in manager.modules.items():
        layer: Any = getattr(module, "base_layer", None)
        width = getattr(layer, "input_size", None)
        if not isinstance(width, int):
            continue  # Not a linear layer.
        parts = manager.packed_modules.get(name, [name])
        heights = getattr(layer, "output_sizes", None) or [layer.output_size]
        # Heads of keys that are copied to several GPUs count several times.
        exact = len(heights) == len(parts) and (len(parts) == 1 or layer.tp_size == 1)
        for at, part in enumerate(parts):
            weights = loaded.get_lora(part)
            if weights is None:
                continue
            a, b = weights.lora_a, weights.lora_b
            if a is None or b is None:
                return f"its layer {part} has one of its matrices, the model's 2"
            if a.shape[1] != width:
                return f"its layer {part} has {a.shape[1]} inputs, the model's {width}"
            if exact and b.shape[0] != heights[at]:
                return f"its layer {part} has {b.shape[0]} outputs, the model's {heights[at]}"
            if a.shape[0] != b.shape[1] or a.shape[0] > most:
                return (
                    f"its layer {part} has ranks {a.shape[0]} and {b.shape[1]}, the model's {most}"
                )
    return None
