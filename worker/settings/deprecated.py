"""Variables of worker-vllm and of vLLM that are gone, as data: old name, since, instead.

Three ways to be gone: translated (the value still takes effect through another setting), removed
(nothing reads it; setting it is reported), obsolete by default (a console may still send its old
default, which needs no warning).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

VLLM_V1 = "vLLM 0.11 (V1 engine)"
VLLM_032 = "vLLM 0.32"
WORKER = "this worker 0.1"


@dataclass(frozen=True, slots=True)
class Removed:
    """A variable that nothing reads any more.

    Attributes:
        since: What removed it.
        instead: What to do now, as a sentence.
        default: Text that worker-vllm's console form sent; setting that is not reported.
    """

    since: str
    instead: str
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Renamed:
    """A variable whose value still takes effect.

    Attributes:
        since: What renamed it.
        target: vLLM's name of the option that it feeds.
        kind: How the old text is written: `string`, `integer`, `boolean`.
        convert: From the old value to the option's; None leaves the option alone.
        default: Text that worker-vllm's console form sent, which is not passed on.
    """

    since: str
    target: str
    kind: str = "string"
    convert: Callable[[Any], Any] = lambda value: value
    default: str | None = None


def _invert(value: bool) -> bool:
    return not value


def _member(key: str) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {key: value}


def _draft(value: str) -> dict[str, Any]:
    """Convert a draft model's name; worker-vllm spelt n-gram lookup as `[ngram]`."""
    return {"method": "ngram"} if value == "[ngram]" else {"model": value}


SPECULATION = "Set SPECULATIVE_CONFIG, a JSON object with all of speculative decoding."
NO_EFFECT = "Delete it: the engine does without."
SWAP = "Delete it: the V1 engine recomputes instead of swapping."
CAPTURE = "Set COMPILATION_CONFIG='{\"max_cudagraph_capture_size\": N}' instead."

RENAMED: Mapping[str, Renamed] = {
    "DISABLE_LOG_REQUESTS": Renamed(
        "vLLM 0.10", "enable_log_requests", "boolean", _invert, default="true"
    ),
    "DISABLE_LOGGING_REQUEST": Renamed(
        WORKER, "enable_log_requests", "boolean", _invert, default="false"
    ),
    "GUIDED_DECODING_BACKEND": Renamed(
        "vLLM 0.12", "structured_outputs_config", convert=_member("backend"), default="outlines"
    ),
    "SPECULATIVE_MODEL": Renamed(VLLM_V1, "speculative_config", convert=_draft),
    "SPECULATIVE_METHOD": Renamed(VLLM_V1, "speculative_config", convert=_member("method")),
    "NUM_SPECULATIVE_TOKENS": Renamed(
        VLLM_V1, "speculative_config", "integer", _member("num_speculative_tokens")
    ),
    "SPECULATIVE_DRAFT_TENSOR_PARALLEL_SIZE": Renamed(
        VLLM_V1, "speculative_config", "integer", _member("draft_tensor_parallel_size")
    ),
    "SPECULATIVE_MAX_MODEL_LEN": Renamed(
        VLLM_V1, "speculative_config", "integer", _member("max_model_len")
    ),
    "NGRAM_PROMPT_LOOKUP_MAX": Renamed(
        VLLM_V1, "speculative_config", "integer", _member("prompt_lookup_max")
    ),
    "NGRAM_PROMPT_LOOKUP_MIN": Renamed(
        VLLM_V1, "speculative_config", "integer", _member("prompt_lookup_min")
    ),
    "WORKER_USE_RAY": Renamed(
        VLLM_V1,
        "distributed_executor_backend",
        "boolean",
        lambda value: "ray" if value else None,
        default="false",
    ),
}

RETIRED: Mapping[str, Mapping[str, str]] = {
    "quantization": {
        "bitsandbytes": "fp8, which quantizes while loading, or an AWQ or GPTQ checkpoint",
        "squeezellm": "an AWQ or GPTQ checkpoint of the model",
        "gguf": "a safetensors checkpoint of the model",
    },
    "load_format": {
        "bitsandbytes": "QUANTIZATION=fp8, which quantizes while loading",
        "gguf": "a safetensors checkpoint of the model",
    },
    "tokenizer_mode": {"slow": "auto, or hf for Hugging Face's own tokenizer"},
}
"""Values that worker-vllm offered and the pinned vLLM no longer has, with what to use instead."""

REMOVED: Mapping[str, Removed] = {
    "QUANTIZATION_PARAM_PATH": Removed(
        VLLM_V1, "Delete it: scales of an FP8 cache are read from the checkpoint."
    ),
    "USE_V2_BLOCK_MANAGER": Removed(VLLM_V1, NO_EFFECT, "false"),
    "NUM_LOOKAHEAD_SLOTS": Removed(VLLM_032, SPECULATION, "0"),
    "ROPE_SCALING": Removed(
        "vLLM 0.12",
        "Set HF_OVERRIDES='{\"rope_parameters\": {…}}' with the same values, rope_theta included.",
    ),
    "ROPE_THETA": Removed(
        "vLLM 0.12", 'Set HF_OVERRIDES=\'{"rope_parameters": {"rope_theta": …}}\'.', "0"
    ),
    "TOKENIZER_POOL_SIZE": Removed(
        VLLM_V1, "Delete it, or set RENDERER_NUM_WORKERS for more tokenizer threads.", "0"
    ),
    "TOKENIZER_POOL_TYPE": Removed(VLLM_V1, NO_EFFECT, "ray"),
    "TOKENIZER_POOL_EXTRA_CONFIG": Removed(VLLM_V1, NO_EFFECT),
    "LORA_EXTRA_VOCAB_SIZE": Removed(
        VLLM_032, "Delete it: adapters with an extended vocabulary are not supported.", "256"
    ),
    "LONG_LORA_SCALING_FACTORS": Removed(VLLM_V1, "Delete it: LongLoRA is not supported."),
    "SCHEDULER_DELAY_FACTOR": Removed(VLLM_V1, NO_EFFECT, "0"),
    "SPECULATIVE_DISABLE_BY_BATCH_SIZE": Removed(VLLM_032, SPECULATION, "0"),
    "SPEC_DECODING_ACCEPTANCE_METHOD": Removed(
        VLLM_V1,
        'Set "rejection_sample_method" inside SPECULATIVE_CONFIG.',
        "rejection_sampler",
    ),
    "TYPICAL_ACCEPTANCE_SAMPLER_POSTERIOR_THRESHOLD": Removed(VLLM_V1, SPECULATION, "0"),
    "TYPICAL_ACCEPTANCE_SAMPLER_POSTERIOR_ALPHA": Removed(VLLM_V1, SPECULATION, "0"),
    "SWAP_SPACE": Removed(VLLM_032, f"{SWAP} KV_OFFLOADING_SIZE keeps cache in main memory.", "4"),
    "MAX_SEQ_LEN_TO_CAPTURE": Removed(VLLM_V1, CAPTURE, "8192"),
    "MAX_CONTEXT_LEN_TO_CAPTURE": Removed(VLLM_V1, CAPTURE, "0"),
    "CUDA_GRAPH_SIZES": Removed(
        "vLLM 0.12", "Set COMPILATION_CONFIG='{\"cudagraph_capture_sizes\": […]}'."
    ),
    "PREEMPTION_MODE": Removed(VLLM_V1, SWAP),
    "PREEMPTION_CHECK_PERIOD": Removed(WORKER, NO_EFFECT, "1"),
    "PREEMPTION_CPU_CAPACITY": Removed(WORKER, NO_EFFECT, "2"),
    "DEVICE": Removed(VLLM_V1, "Delete it: the device follows from the machine.", "auto"),
    "ENABLE_PROMPT_ADAPTER": Removed(VLLM_V1, "Use LoRA: ENABLE_LORA.", "false"),
    "MAX_PROMPT_ADAPTERS": Removed(VLLM_V1, "Use LoRA: MAX_LORAS.", "1"),
    "MAX_PROMPT_ADAPTER_TOKEN": Removed(VLLM_V1, "Use LoRA: ENABLE_LORA.", "0"),
    "QLORA_ADAPTER_NAME_OR_PATH": Removed(
        VLLM_V1, "Name the adapter in LORA_MODULES, over a model with another quantization."
    ),
    "DISABLE_LOGPROBS_DURING_SPEC_DECODING": Removed(VLLM_V1, SPECULATION),
    "ENABLE_REASONING": Removed(
        "vLLM 0.9", "Set REASONING_PARSER: naming a parser enables it.", "false"
    ),
    "TASK": Removed("vLLM 0.12", "Set RUNNER and CONVERT, e.g. RUNNER=pooling CONVERT=embed."),
    "GUIDED_DECODING_DISABLE_FALLBACK": Removed("vLLM 0.12", NO_EFFECT),
    "CALCULATE_KV_SCALES": Removed(
        VLLM_032, "Delete it: use a checkpoint that has the scales of its FP8 cache."
    ),
    "OVERRIDE_ATTENTION_DTYPE": Removed(VLLM_032, NO_EFFECT),
    "VLLM_EXTRA_ARGS": Removed(WORKER, "Set each option by its own variable."),
    "WORKER_CUDA_VERSION": Removed(
        WORKER, "Delete it: the image's CUDA version follows from its vLLM release.", "12.1.0"
    ),
    "HF_HUB_ENABLE_HF_TRANSFER": Removed(
        "huggingface_hub 1.0", "Set HF_XET_HIGH_PERFORMANCE=1 for faster downloads.", "0"
    ),
    "TENSORIZE": Removed(WORKER, "Set LOAD_FORMAT=tensorizer and MODEL_LOADER_EXTRA_CONFIG."),
    "TENSORIZER_URI": Removed(WORKER, "Set LOAD_FORMAT=tensorizer and MODEL_LOADER_EXTRA_CONFIG."),
    "TENSORIZER_NUM_GPUS": Removed(WORKER, "Set LOAD_FORMAT=tensorizer."),
    "TESTING_DOWNLOAD": Removed(WORKER, NO_EFFECT),
}
