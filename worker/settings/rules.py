"""Rules that involve several settings, which vLLM would check only after its start."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator

from worker.errors import Problem, shorten
from worker.settings.parallel import check_parallel
from worker.settings.paths import PATH_RULES
from worker.settings.sources import Inputs
from worker.settings.values import Values
from worker.suggest import HINT, suggest
from worker.validation_errors import expected_choices
from worker.vllm_options.schema import read_schema

NO_USE, NOT_LOADED, NO_EFFECT = "cannot work", "cannot be loaded", "has no effect"

DEPENDENCIES = {
    "enable_auto_tool_choice": ("tool_call_parser", "hermes", NO_USE),
    "enable_log_outputs": ("enable_log_requests", "true", NO_USE),
    "enable_eplb": ("enable_expert_parallel", "true", NO_USE),
    "enable_elastic_ep": ("enable_eplb", "true", NO_USE),
    "collect_detailed_traces": ("otlp_traces_endpoint", "http://collector:4317", NO_USE),
    "numa_bind_nodes": ("numa_bind", "true", NO_USE),
    "numa_bind_cpus": ("numa_bind", "true", NO_USE),
    "lora_allowed": ("enable_lora", "true", NOT_LOADED),
    "lora_modules": ("enable_lora", "true", NOT_LOADED),
    "default_mm_loras": ("enable_lora", "true", NOT_LOADED),
    "max_loras": ("enable_lora", "true", NO_EFFECT),
    "max_lora_rank": ("enable_lora", "true", NO_EFFECT),
    "max_cpu_loras": ("enable_lora", "true", NO_EFFECT),
    "lora_dtype": ("enable_lora", "true", NO_EFFECT),
    "fully_sharded_loras": ("enable_lora", "true", NO_EFFECT),
    "lora_target_modules": ("enable_lora", "true", NO_EFFECT),
}
"""Option -> the one that it needs, how to set that, what happens without.

Setting an option without the other is a problem, unless it is set to vLLM's default anyway."""

LIMITS = (
    ("max_num_batched_tokens", "at least", "max_num_seqs", "fewer tokens than sequences"),
    ("max_num_active_seqs", "at most", "max_num_seqs", "more than the maximum that can run"),
    (
        "data_parallel_size_local",
        "at most",
        "data_parallel_size",
        "more local replicas than replicas in total",
    ),
    ("max_cpu_loras", "at least", "max_loras", "fewer adapters cached than active"),
)
"""Options that another one limits, and what is wrong beyond the limit."""

CLASSES = ("distributed_executor_backend",)
"""Options that take a class's dotted path as well as a name."""

CLASS_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")

PLUGINS = {
    "tool_call_parser": "tool_parser_plugin",
    "reasoning_parser": "reasoning_parser_plugin",
}
"""Options whose list of names a plugin, named by another option, may extend."""

SPECULATION = {
    "spec_method": "method",
    "spec_model": "model",
    "spec_tokens": "num_speculative_tokens",
}
"""Options that set a member of `speculative_config`."""

ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s]+/?")
"""What a browser sends in `Origin`; a final slash does no harm."""

Rule = Callable[[Values, Inputs], Iterator[Problem]]


def apply_rules(values: Values, inputs: Inputs) -> Iterator[Problem]:
    """Yield the problems of combinations of settings."""
    for rule in RULES:
        yield from rule(values, inputs)


def _name(key: str, inputs: Inputs) -> str:
    return inputs.registry.by_vllm_name[key].name


def _check_dependencies(values: Values, inputs: Inputs) -> Iterator[Problem]:
    for key, (other, example, consequence) in DEPENDENCIES.items():
        found = values.find(key)
        if found is None or found.value in (found.option.engine_default, False):
            continue
        if not values.get(other):
            needed = _name(other, inputs)
            wanted = f"{needed} as well, e.g. {needed}={example}"
            yield found.problem(f"{consequence} without {needed}", wanted)


def _check_known_values(values: Values, inputs: Inputs) -> Iterator[Problem]:
    for found in values:
        key, known = found.option.key, found.option.known_values
        value = str(found.value)
        plugin = PLUGINS.get(key)
        extended = values.get(plugin) if plugin else inputs.environ.get("VLLM_PLUGINS")
        is_class = key in CLASSES and CLASS_PATH.fullmatch(value)
        if known and not extended and not is_class and value not in ("", *known):
            problem = found.problem("unknown name", expected_choices(known))
            yield dataclasses.replace(problem, suggestions=suggest(value, known, HINT))


def _check_limits(values: Values, inputs: Inputs) -> Iterator[Problem]:
    for key, relation, other, message in LIMITS:
        value, limit = values.get(key), values.get(other)
        if value is None or limit is None:
            continue
        if value < limit if relation == "at least" else value > limit:
            name = _name(other, inputs)
            yield values.problem(key, message, f"{relation} {name}, which is {limit}")
    tokens, length = values.get("max_num_batched_tokens"), values.get("max_model_len")
    is_whole = values.get("enable_chunked_prefill") is False
    if is_whole and isinstance(length, int) and tokens is not None and tokens < length:
        limit = f"at least {_name('max_model_len', inputs)}, which is {length}"
        message = "too few tokens without chunked prefill"
        yield values.problem("max_num_batched_tokens", message, limit)
    context, tensor = values.get("decode_context_parallel_size"), values.get("tensor_parallel_size")
    if tensor % context:
        limit = f"a divisor of {_name('tensor_parallel_size', inputs)}, which is {tensor}"
        yield values.problem("decode_context_parallel_size", "does not divide the GPUs", limit)


def _check_quantization(values: Values, inputs: Inputs) -> Iterator[Problem]:
    is_deprecated = values.get("quantization") in read_schema().deprecated_quantization
    if is_deprecated and not values.get("allow_deprecated_quantization"):
        allow = _name("allow_deprecated_quantization", inputs)
        message = "vLLM will remove this method"
        yield values.problem("quantization", message, f"another method, or {allow}=true as well")


def _check_speculation(values: Values, inputs: Inputs) -> Iterator[Problem]:
    found = values.find("speculative_config")
    single = {key: value for key in SPECULATION if (value := values.find(key))}
    if found is None:
        if [*single] == ["spec_tokens"]:
            method = _name("spec_method", inputs)
            message = f"has no effect without {method}"
            yield single["spec_tokens"].problem(message, f"{method}=ngram")
        return
    config = {name.replace("-", "_"): value for name, value in found.value.items()}
    for key, value in single.items():
        member = SPECULATION[key]
        if member in config:
            yield found.problem(f"names {member!r}, and so does {value.option.name}")
        config[member] = value.value
    if not config.get("method") and not config.get("model"):
        yield found.problem("neither method nor model", '"method": "ngram", or a draft "model"')
    if config.get("method") == "ngram" and not config.get("num_speculative_tokens"):
        yield found.problem("without num_speculative_tokens", '"num_speculative_tokens": 5')
    low, high = config.get("prompt_lookup_min"), config.get("prompt_lookup_max")
    if isinstance(low, int) and isinstance(high, int) and low > high:
        yield found.problem("prompt_lookup_min above prompt_lookup_max")


def _check_metrics(values: Values, inputs: Inputs) -> Iterator[Problem]:
    if values.get("enable_per_request_metrics") and values.get("disable_log_stats"):
        wanted = f"{_name('disable_log_stats', inputs)} unset"
        yield values.problem("enable_per_request_metrics", "needs engine statistics", wanted)


def _check_origins(values: Values, inputs: Inputs) -> Iterator[Problem]:
    for origin in values.get("allowed_origins"):
        if origin != "*" and not ORIGIN.fullmatch(origin):
            wanted = "* or origins without a path, e.g. https://example.com,http://localhost:3000"
            yield values.problem("allowed_origins", f"{shorten(origin)!r} is not an origin", wanted)


RULES: tuple[Rule, ...] = (
    _check_dependencies,
    _check_known_values,
    _check_limits,
    _check_quantization,
    _check_speculation,
    _check_metrics,
    *PATH_RULES,
    _check_origins,
    check_parallel,
)
