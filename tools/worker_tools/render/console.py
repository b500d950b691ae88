"""The files of RunPod's console: deploy forms, hub listings and the tests of a release."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from worker.profile import builtin_folder, load_all
from worker.profile.model import CUDA
from worker.settings.registry import SWITCH_KINDS, Option, OptionRegistry
from worker_tools.render.order import CATEGORIES, in_order

PLAIN_NUMBERS = ("integer", "number")
"""Kinds that fit a number field of a form. Other kinds accept suffixes such as `8k`."""

DISK_GIB = 150
"""Space for the image and a model of medium size. Larger models need a volume."""

IMAGE = "runpod-vllm-worker"
FIRST = "Default"
TEST_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
TEST_GPU = "NVIDIA A40"
TEST_TIMEOUT_MS = 300_000
MODE = "WORKER_MODE"


def form_options(registry: OptionRegistry) -> list[Option]:
    """Return the settings of the forms in their order. The model is the first."""
    shown = in_order(option for option in registry.settable() if option.console)
    return sorted(shown, key=lambda option: option.advanced)


def hub(registry: OptionRegistry) -> dict[str, Any]:
    """Return `.runpod/hub.json`: the listing and its deploy form."""
    return {
        "title": "vLLM, any model",
        "description": "Serve any LLM with vLLM, OpenAI-compatible, configured by declaration.",
        "type": "serverless",
        "category": "language",
        "config": {
            "runsOn": "GPU",
            "containerDiskInGb": DISK_GIB,
            "gpuCount": 1,
            "gpuIds": "ADA_80_PRO,AMPERE_80",
            "allowedCudaVersions": [CUDA],
            "presets": _presets(registry),
            "env": [
                {"key": option.name, "input": _hub_input(option)}
                for option in form_options(registry)
            ],
        },
    }


def hub_load_balancer(registry: OptionRegistry) -> dict[str, Any]:
    """Return `hub.json` of the load-balancing variant; RunPod reads one file for each listing."""
    listing = hub(registry)
    config = listing["config"]
    entries = [{"key": MODE, "value": "load-balancer"}, *config["env"]]
    return {
        **listing,
        "title": f"{listing['title']} (load balancer)",
        "config": {**config, "endpointType": "LB", "env": entries},
    }


def _presets(registry: OptionRegistry) -> list[dict[str, Any]]:
    """Return a preset for each profile. It includes the model, because the form requires it."""
    model = registry.by_vllm_name["model"].name
    return [
        {
            "name": profile.about.title,
            "defaults": {model: profile.model, "PROFILE": profile.name},
        }
        for profile in load_all(builtin_folder())
    ]


def hub_tests(registry: OptionRegistry) -> dict[str, Any]:
    """Return `.runpod/tests.json`: requests that RunPod sends before it lists a release."""
    chat = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 16}
    inputs = {
        "native_prompt": {
            "prompt": "The capital of France is",
            "sampling_params": {"max_tokens": 8},
        },
        "openai_chat": {"openai_route": "/v1/chat/completions", "openai_input": chat},
        "openai_models": {"openai_route": "/v1/models"},
    }
    return {
        "tests": [
            {"name": name, "input": body, "timeout": TEST_TIMEOUT_MS}
            for name, body in inputs.items()
        ],
        "config": {
            "gpuTypeId": TEST_GPU,
            "gpuCount": 1,
            "env": [
                {"key": registry.by_vllm_name["model"].name, "value": TEST_MODEL},
                {"key": registry.by_vllm_name["max_model_len"].name, "value": "2048"},
            ],
            "allowedCudaVersions": [CUDA],
        },
    }


def worker_config(registry: OptionRegistry) -> dict[str, Any]:
    """Return `worker-config.json`: the quick-deploy form, without the model, which has a field."""
    options = [option for option in in_order(form_options(registry)) if option.vllm_name != "model"]
    version = importlib.metadata.version("runpod-vllm-worker")
    categories = [
        {"title": title, "settings": [o.name for o in options if o.category == title]}
        for title in CATEGORIES
        if any(option.category == title for option in options)
    ]
    return {
        "versions": {
            registry.version: {
                "imageName": f"{IMAGE}:{version}",
                "minimumCudaVersion": CUDA,
                "categories": categories,
            }
        },
        "schema": {option.name: _quick_field(option) for option in options},
    }


def form_choices(option: Option) -> list[tuple[str, str]]:
    """Return label and value of each choice; empty for a text field.

    Without a default, the first value is empty, which means "not set": vLLM decides.
    """
    if is_toggle(option):
        return []
    if option.kind in SWITCH_KINDS:
        return [(FIRST, ""), ("true", "true"), ("false", "false")]
    values = [str(choice) for choice in option.schema.get("enum", option.known_values)]
    choices = [(value, value) for value in values]
    if not choices or form_default(option) is not None:
        return choices
    known = option.engine_default not in (None, "")
    return [(f"{FIRST} ({option.engine_default})" if known else FIRST, ""), *choices]


def is_toggle(option: Option) -> bool:
    """Return whether "off" and unset mean the same; not if vLLM decides when it is unset."""
    if option.kind not in SWITCH_KINDS:
        return False
    return option.field is not None or option.engine_default is False


def form_default(option: Option) -> Any:
    """Return the initial value in the form; always the worker's own default.

    The form sends its defaults as variables, and another default could break a start.
    """
    if is_toggle(option):
        return bool(option.default)
    if option.vllm_name == "model":
        return None
    if option.default is not None and option.kind in PLAIN_NUMBERS:
        whole = isinstance(option.default, float) and option.default.is_integer()
        return int(option.default) if whole else option.default
    if option.kind in PLAIN_NUMBERS and not option.zero_is_unset and option.engine_default:
        # An empty number field may be sent as 0, which is a valid value here.
        return option.engine_default
    return option.default if option.field and option.default else None


def _hub_input(option: Option) -> dict[str, Any]:
    choices = form_choices(option)
    entry: dict[str, Any] = {
        "name": option.title,
        "type": _hub_type(option),
        "description": option.summary,
    }
    if choices:
        entry["options"] = [{"label": label, "value": value} for label, value in choices]
    default = form_default(option)
    if default is not None:
        entry["default"] = default
    elif choices:
        entry["default"] = ""
    if entry["type"] == "number":
        entry.update(_bounds(option))
    if option.vllm_name == "model":
        entry["required"] = True
    elif option.advanced:
        entry["advanced"] = True
    return entry


def _hub_type(option: Option) -> str:
    if option.vllm_name == "model":
        return "huggingface"
    if is_toggle(option):
        return "boolean"
    is_number = option.kind in PLAIN_NUMBERS and "enum" not in option.schema
    return "number" if is_number else "string"


def _bounds(option: Option) -> dict[str, Any]:
    """Return the bounds of a number field; 0 is allowed where it means unset."""
    bounds = {}
    low, high = option.schema.get("minimum"), option.schema.get("maximum")
    if low is not None:
        bounds["min"] = min(low, 0) if option.zero_is_unset else low
    elif "exclusiveMinimum" in option.schema:
        bounds["min"] = 0
    if high is not None:
        bounds["max"] = high
    return bounds


def _quick_field(option: Option) -> dict[str, Any]:
    kinds = {"boolean": "toggle", "number": "number", "string": "text"}
    choices = form_choices(option)
    default = form_default(option)
    field: dict[str, Any] = {
        "env_var_name": option.name,
        "value": "" if default is None else default,
        "title": option.title,
        "description": option.summary,
        "required": False,
        "type": "select" if choices else kinds[_hub_type(option)],
    }
    if choices:
        field["options"] = [{"value": value, "label": label} for label, value in choices]
    return field
