"""Parameters of other servers, as data: vLLM's equivalent of each, if there is one.

Sources, read in November 2026: OpenRouter's API reference, `tools/server/README.md` of llama.cpp,
`docs/api.md` of Ollama, the request parameters of TGI, `openai/protocol.py` of SGLang, LiteLLM's
input parameters, and the official OpenAI client's types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from worker.request.json_value import same_value

Translation = Mapping[str, Any]
"""vLLM's parameters with the same effect; empty if vLLM does the same without a parameter."""

TEMPLATE = "chat_template_kwargs"
LIMIT = "max_tokens"


@dataclass(frozen=True, slots=True)
class CompatParameter:
    """A parameter of another server.

    Attributes:
        servers: The servers that have it.
        target: vLLM's name for the same parameter; None if vLLM has no such parameter.
        convert: Converts a value to vLLM's parameters; None for a value without equivalent.
        effect: True if it changes the answer; if vLLM has no equivalent, it is reported as ignored.
        neutral: Values that do not change what vLLM does anyway.
    """

    servers: str
    target: str | None = None
    convert: Callable[[Any], Translation | None] | None = None
    effect: bool = True
    neutral: tuple[Any, ...] = ()

    def translate(self, value: Any) -> Translation | None:
        """Return vLLM's parameters for a value; None for a value without equivalent."""
        if any(same_value(value, each) for each in self.neutral):
            return {}
        if self.convert is not None:
            return self.convert(value)
        if self.target is not None:
            return {self.target: value}
        return None if self.effect else {}


def _structured(form: str) -> Callable[[Any], Translation | None]:
    return lambda value: {"structured_outputs": {form: value}}


def _grammar(value: Any) -> Translation | None:
    """Translate llama.cpp's grammar text and TGI's `{"type": "json" | "regex", "value": …}`."""
    match value:
        case str():
            return {"structured_outputs": {"grammar": value}}
        case {"type": "json" | "regex" as form, "value": inner}:
            return {"structured_outputs": {form: inner}}
    return None


def _format(value: Any) -> Translation | None:
    """Translate Ollama's output format: `json`, or a JSON Schema."""
    if value == "json":
        return {"structured_outputs": {"json_object": True}}
    return {"structured_outputs": {"json": value}} if isinstance(value, dict) else None


def _enable_thinking(value: Any) -> Translation | None:
    return {TEMPLATE: {"enable_thinking": value}} if isinstance(value, bool) else None


def _think(value: Any) -> Translation | None:
    """Translate Ollama's switch, which is a boolean or a level."""
    return {"reasoning_effort": value} if isinstance(value, str) else _enable_thinking(value)


def _thinking(value: Any) -> Translation | None:
    """Translate Anthropic's `thinking` object, which LiteLLM, DeepSeek and Z.AI use too."""
    match value:
        case {"type": "adaptive"}:
            return {}
        case {"type": "disabled"}:
            return {TEMPLATE: {"enable_thinking": False}}
        case {"type": "enabled", "budget_tokens": int(budget)}:
            return {TEMPLATE: {"enable_thinking": True}, "thinking_token_budget": budget}
        case {"type": "enabled"}:
            return {TEMPLATE: {"enable_thinking": True}}
    return None


def _reasoning(value: Any) -> Translation | None:
    """Translate OpenRouter's reasoning options; an unknown option has no equivalent."""
    if not isinstance(value, dict) or value.keys() - {"effort", "max_tokens", "exclude", "enabled"}:
        return None
    translated: dict[str, Any] = {}
    if value.get("effort") is not None:
        translated["reasoning_effort"] = value["effort"]
    if value.get("max_tokens") is not None:
        translated["thinking_token_budget"] = value["max_tokens"]
    if value.get("exclude"):
        translated["include_reasoning"] = False
    if isinstance(value.get("enabled"), bool):
        translated[TEMPLATE] = {"enable_thinking": value["enabled"]}
    return translated


def _reasoning_format(value: Any) -> Translation | None:
    """Translate where the reasoning is returned; vLLM always returns it next to the answer."""
    if value == "hidden":
        return {"include_reasoning": False}
    return {} if value in ("auto", "deepseek", "parsed") else None


def _limit(value: Any) -> Translation | None:
    """Translate a limit of output tokens; negative values differ in meaning between servers."""
    return None if isinstance(value, int) and value < 0 else {LIMIT: value}


_RENAMED: tuple[tuple[str, str, str], ...] = (
    ("max_completion_tokens", LIMIT, "OpenAI"),
    ("max_output_tokens", LIMIT, "OpenAI"),
    ("max_new_tokens", LIMIT, "TGI, SGLang"),
    ("min_new_tokens", "min_tokens", "TGI, SGLang"),
    ("num_return_sequences", "n", "TGI"),
    ("truncate", "truncate_prompt_tokens", "TGI"),
    ("n_cmpl", "n", "llama.cpp"),
    ("repeat_penalty", "repetition_penalty", "llama.cpp, Ollama"),
    ("return_tokens", "return_token_ids", "llama.cpp"),
    ("sampling_seed", "seed", "SGLang"),
    ("no_stop_trim", "include_stop_str_in_output", "SGLang"),
    ("rid", "request_id", "SGLang"),
    ("stop_sequences", "stop", "Anthropic, Cohere"),
    ("thinking_budget", "thinking_token_budget", "Qwen, SGLang"),
)
"""Parameters with the same values as vLLM's: name, vLLM's name, servers."""

_CONVERTED: dict[str, CompatParameter] = {
    "n_predict": CompatParameter("llama.cpp", LIMIT, _limit),
    "num_predict": CompatParameter("Ollama", LIMIT, _limit),
    "json_schema": CompatParameter("llama.cpp, SGLang", "structured_outputs", _structured("json")),
    "regex": CompatParameter("SGLang", "structured_outputs", _structured("regex")),
    "ebnf": CompatParameter("SGLang", "structured_outputs", _structured("grammar")),
    "grammar": CompatParameter("llama.cpp, TGI", "structured_outputs", _grammar, neutral=("",)),
    "format": CompatParameter("Ollama", "structured_outputs", _format, neutral=("",)),
    "enable_thinking": CompatParameter("Qwen", TEMPLATE, _enable_thinking),
    "think": CompatParameter("Ollama", TEMPLATE, _think),
    "thinking": CompatParameter("Anthropic, LiteLLM", TEMPLATE, _thinking),
    "reasoning": CompatParameter("OpenRouter, SGLang", "reasoning_effort", _reasoning),
    "reasoning_format": CompatParameter("llama.cpp", "include_reasoning", _reasoning_format),
}

_UNSUPPORTED: dict[str, Mapping[str, tuple[Any, ...]]] = {
    "OpenAI": {
        "audio": (),
        "context_management": ([],),
        "conversation": (),
        "max_prompt_tokens": (),
        "modalities": (["text"],),
        "verbosity": ("medium",),
        "web_search_options": (),
    },
    "OpenRouter": {
        "plugins": ([],),
        "top_a": (0,),
        "transforms": ([],),
    },
    "llama.cpp, Ollama": {
        "dry_multiplier": (0,),
        "dynatemp_range": (0,),
        "lora": ([],),
        "min_keep": (0,),
        "mirostat": (0,),
        "n_indent": (0,),
        "n_probs": (0,),
        "num_ctx": (),
        "parse_tool_calls": (True,),
        "penalize_newline": (False,),
        "penalize_nl": (False,),
        "post_sampling_probs": (False,),
        "raw": (False,),
        "repeat_last_n": (-1,),
        "response_fields": ([],),
        "samplers": (),
        "system": ("",),
        "t_max_predict_ms": (0, -1),
        "template": ("",),
        "tfs_z": (1,),
        "top_n_sigma": (0, -1),
        "typ_p": (1,),
        "typical_p": (1,),
        "xtc_probability": (0,),
    },
    "TGI": {
        "adapter_id": (),
        "decoder_input_details": (False,),
        "details": (False,),
        "do_sample": (True,),
        "return_full_text": (False,),
        "top_n_tokens": (0,),
        "watermark": (False,),
    },
    "SGLang": {
        "custom_logit_processor": (),
        "custom_params": ({},),
        "input_ids": (),
        "lora_path": (),
        "return_hidden_states": (False,),
        "return_logprob": (False,),
        "separate_reasoning": (True,),
        "session_params": ({},),
        "stop_regex": ([], ""),
        "stream_reasoning": (True,),
        "top_logprobs_num": (0,),
    },
    "LiteLLM": {
        "guardrails": ([],),
        "mock_response": (),
    },
    "text-generation-webui": {
        "encoder_repetition_penalty": (1,),
        "max_input_tokens": (),
        "mode": ("instruct",),
        "repetition_penalty_range": (0,),
        "temperature_last": (False,),
    },
    "RunPod's worker": {
        "stream_options": (
            {},
            {"include_usage": True},
            {"include_usage": True, "continuous_usage_stats": True},
            {"include_usage": True, "continuous_usage_stats": False},
        ),
        "use_openai_format": (False,),
    },
}
"""Parameters that change the answer and have no equivalent, each with its neutral values."""

_NO_EFFECT: dict[str, tuple[str, ...]] = {
    "OpenRouter": (
        "cache_control",
        "debug",
        "models",
        "provider",
        "route",
        "trace",
        "usage",
    ),
    "llama.cpp": (
        "cache_prompt",
        "dry_allowed_length",
        "dry_base",
        "dry_penalty_last_n",
        "dry_sequence_breakers",
        "dynatemp_exponent",
        "id_slot",
        "mirostat_eta",
        "mirostat_tau",
        "n_cache_reuse",
        "n_keep",
        "return_progress",
        "slot_id",
        "sse_ping_interval",
        "timings_per_token",
        "xtc_threshold",
    ),
    "Ollama": (
        "f16_kv",
        "keep_alive",
        "low_vram",
        "main_gpu",
        "num_batch",
        "num_gpu",
        "num_keep",
        "num_thread",
        "numa",
        "use_mlock",
        "use_mmap",
        "vocab_only",
    ),
    "SGLang": (
        "bootstrap_host",
        "bootstrap_port",
        "bootstrap_room",
        "custom_labels",
        "data_parallel_rank",
        "disagg_prefill_dp_rank",
        "extra_key",
        "return_cached_tokens_details",
        "return_meta_info",
        "routed_dp_rank",
    ),
    "LiteLLM": (
        "additional_drop_params",
        "allowed_openai_params",
        "api_base",
        "api_key",
        "api_version",
        "base_url",
        "cache",
        "caching",
        "content_policy_fallbacks",
        "context_window_fallback_dict",
        "context_window_fallbacks",
        "custom_llm_provider",
        "disable_fallbacks",
        "drop_params",
        "extra_headers",
        "fallbacks",
        "headers",
        "litellm_call_id",
        "litellm_metadata",
        "litellm_session_id",
        "litellm_trace_id",
        "max_retries",
        "metadata",
        "no-log",
        "num_retries",
        "request_timeout",
        "stream_timeout",
        "tags",
        "timeout",
        "ttl",
    ),
    "OpenAI": (
        "moderation",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
    ),
}
"""Parameters for routing, caching, timing, counting or retries, which do not change the answer."""

CONTAINERS: dict[str, str] = {
    "extra_body": "an argument of OpenAI's Python client, sent as a parameter",
    "options": "Ollama",
    "parameters": "TGI",
}
"""Container objects, whose parameters count as parameters of the body -> who sends them."""


def entries() -> Iterator[tuple[str, CompatParameter]]:
    """Yield the parameters by name, in the order of the tables above."""
    for name, target, servers in _RENAMED:
        yield name, CompatParameter(servers, target)
    yield from _CONVERTED.items()
    for servers, losses in _UNSUPPORTED.items():
        for name, neutral in losses.items():
            yield name, CompatParameter(servers, neutral=neutral)
    for servers, names in _NO_EFFECT.items():
        for name in names:
            yield name, CompatParameter(servers, effect=False)


COMPAT_PARAMETERS: dict[str, CompatParameter] = dict(entries())
"""Parameters of other servers by name. A name that vLLM has too keeps vLLM's meaning."""

MIN_HINT_CHARS = 8
"""Characters of a name that is suggested for a typo; shorter names resemble too many others."""

HINTS: frozenset[str] = frozenset(
    name
    for name, compat in COMPAT_PARAMETERS.items()
    if compat.target is not None and len(name) >= MIN_HINT_CHARS
) | {"extra_body"}
"""CompatParameter names that an unknown name may be a misspelling of."""
