"""Rules over more than one setting: what vLLM would find out only after it has started."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.errors import Problem
from worker.machine import MachineInfo
from worker.settings.chat_template import find_template_error, is_template
from worker.settings.model_name import GGUF_INSTEAD, is_gguf_name
from worker.settings.paths import exists, find_adapter_fault, find_model_fault, is_path
from worker.settings.registry import OptionRegistry, load_registry
from worker.settings.settings import Settings
from worker.settings.values import ResolvedValue, Values
from worker.suggest import HINT, suggest
from worker.validation_errors import expected_choices
from worker.vllm_options.schema import read_schema


@dataclass(frozen=True, slots=True)
class ConfigView:
    """The resolved values, as rules ask for them: by vLLM's name of the option.

    Attributes:
        values: What somebody set or the worker promises, by the option's variable.
        registry: All options.
        machine: What it will run on.
        environ: For what vLLM reads itself.
        is_local: Whether it will run on this machine, where paths can be checked.
    """

    values: Values
    registry: OptionRegistry
    machine: MachineInfo
    environ: Mapping[str, str]
    is_local: bool = True

    def explicit(self, key: str) -> ResolvedValue | None:
        """Return an engine option's value with its origin, None when nobody set it."""
        return self.values.get(self.registry.by_vllm_name[key].name)

    def get(self, key: str) -> Any:
        """Return an engine option's value, vLLM's own default where nobody set it."""
        resolved = self.explicit(key)
        if resolved is None:
            return self.registry.by_vllm_name[key].engine_default
        return resolved.value

    def name(self, key: str) -> str:
        """Return the variable of an engine option."""
        return self.registry.by_vllm_name[key].name

    def problem(self, key: str, message: str, expected: str | None = None) -> Problem:
        """Return a problem with an engine option, at the place where it was set."""
        resolved = self.explicit(key)
        option = self.registry.by_vllm_name[key]
        place = resolved.location if resolved is not None else option.name
        got = None if resolved is None else _text(resolved.value)
        return Problem(place, message, got=got, expected=expected, anchor=option.anchor)


def view_settings(settings: Settings) -> ConfigView:
    """Return the view of settings that have been loaded."""
    values = {item.option.name: item for item in settings.values}
    return ConfigView(values, load_registry(), settings.machine, {})


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Dependency:
    """One option is of use only beside another.

    Attributes:
        option: The option that was set.
        needed: The option that it needs.
        example: How to set that one.
        why: What happens without.
    """

    option: str
    needed: str
    example: str
    why: str


OPTION_DEPENDENCIES = (
    Dependency("enable_auto_tool_choice", "tool_call_parser", "hermes", "cannot work"),
    Dependency("enable_log_outputs", "enable_log_requests", "true", "cannot work"),
    Dependency("enable_eplb", "enable_expert_parallel", "true", "cannot work"),
    Dependency("enable_elastic_ep", "enable_eplb", "true", "cannot work"),
    Dependency(
        "collect_detailed_traces", "otlp_traces_endpoint", "http://collector:4317", "cannot work"
    ),
    Dependency("numa_bind_nodes", "numa_bind", "true", "cannot work"),
    Dependency("numa_bind_cpus", "numa_bind", "true", "cannot work"),
    Dependency("lora_modules", "enable_lora", "true", "cannot be loaded"),
    Dependency("default_mm_loras", "enable_lora", "true", "cannot be loaded"),
    *(
        Dependency(key, "enable_lora", "true", "has no effect")
        for key in (
            "max_loras",
            "max_lora_rank",
            "max_cpu_loras",
            "lora_dtype",
            "fully_sharded_loras",
            "lora_target_modules",
        )
    ),
)
"""Setting the first without the second is a problem, unless it is set to vLLM's default anyway."""

CLASSES = ("distributed_executor_backend",)
"""Options that take a class's dotted path beside their names."""

CLASS_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")

PLUGINS = {
    "tool_call_parser": "tool_parser_plugin",
    "reasoning_parser": "reasoning_parser_plugin",
}
"""Options whose list of names a plugin, named by another option, may extend."""


ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s]+/?")
"""What a browser sends in `Origin`; a final slash does no harm."""

MODEL_WANTED = "a folder in this container with a model, or a repository id such as org/name"
FOLDER_WANTED = "a folder that exists in this container, or a repository id such as org/name"
FILE_WANTED = "a path that exists in this container"

FOLDERS = ("tokenizer", "hf_config_path", "spec_model", "generation_config")
"""Options that name a repository or a folder."""

FILES = (
    "tool_parser_plugin",
    "reasoning_parser_plugin",
    "allowed_local_media_path",
    "mm_encoder_fp8_scale_path",
)
"""Options that name a file or folder which vLLM reads."""

MEMBERS = (
    ("speculative_config", "model", is_path),
    ("logging_config", "pylogging_config_file", bool),
    ("structured_outputs_config", "reasoning_parser_plugin", bool),
)
"""Members of JSON options that name one, with what tells a path from another name."""


def apply_rules(view: ConfigView) -> Iterator[Problem]:
    """Yield what is wrong with the settings taken together."""
    for rule in RULES:
        yield from rule(view)


def _check_dependencies(view: ConfigView) -> Iterator[Problem]:
    for rule in OPTION_DEPENDENCIES:
        resolved = view.explicit(rule.option)
        default = view.registry.by_vllm_name[rule.option].engine_default
        if resolved is None or resolved.value in (default, False) or view.get(rule.needed):
            continue
        needed = view.name(rule.needed)
        message = f"{rule.why} without {needed}"
        yield view.problem(rule.option, message, f"{needed} as well, e.g. {needed}={rule.example}")


def _check_names(view: ConfigView) -> Iterator[Problem]:
    for option in view.registry.settable():
        key = option.engine_key
        if not option.known_values or key is None or view.explicit(key) is None:
            continue
        value = str(view.get(key))
        plugin = PLUGINS.get(key)
        extended = bool(view.get(plugin)) if plugin else bool(view.environ.get("VLLM_PLUGINS"))
        is_class = key in CLASSES and CLASS_PATH.fullmatch(value)
        if extended or is_class or value in ("", *option.known_values):
            continue
        near = suggest(value, option.known_values, HINT)
        found = view.problem(key, "unknown name", expected_choices(option.known_values))
        yield dataclasses.replace(found, suggestions=near)


def _check_batch(view: ConfigView) -> Iterator[Problem]:
    tokens, sequences = view.get("max_num_batched_tokens"), view.get("max_num_seqs")
    if tokens is not None and sequences is not None and tokens < sequences:
        limit = f"at least {view.name('max_num_seqs')}, which is {sequences}"
        yield view.problem("max_num_batched_tokens", "fewer tokens than sequences", limit)
    length = view.get("max_model_len")
    chunked = view.get("enable_chunked_prefill")
    if chunked is False and isinstance(length, int) and tokens is not None and tokens < length:
        limit = f"at least {view.name('max_model_len')}, which is {length}"
        yield view.problem(
            "max_num_batched_tokens", "too few tokens without chunked prefill", limit
        )
    active = view.get("max_num_active_seqs")
    if active is not None and sequences is not None and active > sequences:
        limit = f"at most {view.name('max_num_seqs')}, which is {sequences}"
        yield view.problem("max_num_active_seqs", "more than may run at all", limit)


def _check_quantization(view: ConfigView) -> Iterator[Problem]:
    method = view.get("quantization")
    deprecated = method in read_schema().deprecated_quantization
    if deprecated and not view.get("allow_deprecated_quantization"):
        allow = view.name("allow_deprecated_quantization")
        instead = f"another method, or {allow}=true as well"
        yield view.problem("quantization", "vLLM is about to remove this method", instead)


def _check_sizes(view: ConfigView) -> Iterator[Problem]:
    local, replicas = view.get("data_parallel_size_local"), view.get("data_parallel_size")
    if local is not None and local > replicas:
        limit = f"at most {view.name('data_parallel_size')}, which is {replicas}"
        yield view.problem("data_parallel_size_local", "more replicas here than in all", limit)
    context, tensor = view.get("decode_context_parallel_size"), view.get("tensor_parallel_size")
    if tensor % context:
        limit = f"a divisor of {view.name('tensor_parallel_size')}, which is {tensor}"
        yield view.problem("decode_context_parallel_size", "does not divide the GPUs", limit)


def _check_lora(view: ConfigView) -> Iterator[Problem]:
    cached, active = view.get("max_cpu_loras"), view.get("max_loras")
    if cached is not None and cached < active:
        limit = f"at least {view.name('max_loras')}, which is {active}"
        yield view.problem("max_cpu_loras", "fewer adapters cached than active", limit)


def _check_speculation(view: ConfigView) -> Iterator[Problem]:
    resolved = view.explicit("speculative_config")
    if resolved is None:
        chosen = view.explicit("spec_method") or view.explicit("spec_model")
        if view.explicit("spec_tokens") is not None and chosen is None:
            method = view.name("spec_method")
            yield view.problem("spec_tokens", f"has no effect without {method}", f"{method}=ngram")
        return
    key = "speculative_config"
    config = {name.replace("-", "_"): value for name, value in resolved.value.items()}
    for option, member in (
        ("spec_method", "method"),
        ("spec_model", "model"),
        ("spec_tokens", "num_speculative_tokens"),
    ):
        if view.explicit(option) is not None:
            if member in config:
                yield view.problem(key, f"names {member!r}, and so does {view.name(option)}")
            config[member] = view.get(option)
    if not config.get("method") and not config.get("model"):
        yield view.problem(key, "neither method nor model", '"method": "ngram", or a draft "model"')
    if config.get("method") == "ngram" and not config.get("num_speculative_tokens"):
        yield view.problem(key, "without num_speculative_tokens", '"num_speculative_tokens": 5')
    low, high = config.get("prompt_lookup_min"), config.get("prompt_lookup_max")
    if isinstance(low, int) and isinstance(high, int) and low > high:
        yield view.problem(key, "prompt_lookup_min above prompt_lookup_max")


def _check_metrics(view: ConfigView) -> Iterator[Problem]:
    if view.get("enable_per_request_metrics") and view.get("disable_log_stats"):
        instead = f"{view.name('disable_log_stats')} unset"
        yield view.problem("enable_per_request_metrics", "needs engine statistics", instead)


def _check_template(view: ConfigView) -> Iterator[Problem]:
    template = view.get("chat_template")
    if template is None:
        return
    text = template
    if not is_template(template):
        if template in read_schema().chat_templates or not (view.is_local or "/" in template):
            return
        try:
            text = Path(template).read_text(encoding="utf-8")
        except (OSError, ValueError):
            wanted = "a Jinja template or its file's path"
            yield view.problem("chat_template", "no such file", wanted)
            return
    if error := find_template_error(text):
        message = f"not a template that can be used: {error.removesuffix('.')}"
        yield view.problem("chat_template", message, "a Jinja template as transformers takes it")


def _check_model(view: ConfigView) -> Iterator[Problem]:
    model = view.get("model")
    if not isinstance(model, str) or "://" in model:
        return
    if is_path(model):
        if not view.is_local:
            return
        own = view.get("hf_config_path") is None
        if fault := find_model_fault(model, needs_config=own):
            wanted = f"{GGUF_INSTEAD}, or another folder" if "GGUF" in fault else MODEL_WANTED
            yield view.problem("model", fault, wanted)
    elif is_gguf_name(model) and not (view.is_local and exists(model)):
        yield view.problem("model", "GGUF weights, which this vLLM cannot load", GGUF_INSTEAD)


def _check_paths(view: ConfigView) -> Iterator[Problem]:
    """Look for what other options name; whether a repository exists, only the hub knows."""
    if not view.is_local:
        return
    for key in FOLDERS:
        value = view.get(key)
        if isinstance(value, str) and is_path(value) and not exists(value):
            yield view.problem(key, "no such folder", FOLDER_WANTED)
    for key in FILES:
        value = view.get(key)
        if isinstance(value, str) and value and not exists(value):
            yield view.problem(key, "no such file or folder", FILE_WANTED)
    for key, member, names_path in MEMBERS:
        value = view.get(key)
        path = value.get(member) if isinstance(value, dict) else None
        if isinstance(path, str) and names_path(path) and not exists(path):
            yield view.problem(key, f"no such file or folder at {member}", FILE_WANTED)


def _check_adapters(view: ConfigView) -> Iterator[Problem]:
    if not view.is_local:
        return
    modules, defaults = view.get("lora_modules"), view.get("default_mm_loras")
    named = [("lora_modules", item.get("path")) for item in modules or () if isinstance(item, dict)]
    named += [("default_mm_loras", path) for path in (defaults or {}).values()]
    for key, path in named:
        if isinstance(path, str) and (fault := find_adapter_fault(path)):
            wanted = "an adapter's folder in this container, or a repository id such as org/adapter"
            found = view.problem(key, f"an adapter cannot be loaded: {fault}", wanted)
            yield dataclasses.replace(found, got=path)


def _check_origins(view: ConfigView) -> Iterator[Problem]:
    for origin in view.get("allowed_origins"):
        if origin != "*" and not ORIGIN.fullmatch(origin):
            expected = "* or origins without a path, e.g. https://example.com,http://localhost:3000"
            yield view.problem("allowed_origins", f"{origin!r} is not an origin", expected)


RULES: tuple[Callable[[ConfigView], Iterator[Problem]], ...] = (
    _check_dependencies,
    _check_names,
    _check_batch,
    _check_quantization,
    _check_sizes,
    _check_lora,
    _check_speculation,
    _check_metrics,
    _check_template,
    _check_model,
    _check_paths,
    _check_adapters,
    _check_origins,
)
