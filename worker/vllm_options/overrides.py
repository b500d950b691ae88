"""What the capture of vLLM's options cannot know, as data: names, forms, late checks, promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Override:
    """Facts to add to one captured option.

    Attributes:
        category: Heading in the console forms; None keeps the option out of them.
        title: Label there; None means the name, spelt out.
        env: Environment variable, where it is not the option's name in upper case.
        aliases: The original worker's other names for it, in order of precedence.
        bounds: JSON Schema keywords that vLLM checks only at start, or not at all.
        zero_is_unset: 0 is senseless although vLLM's parser takes it.
        advanced: Folded away in the console form.
        unit: What a number counts.
        example: A value for docs.
        pairs: The `a=1,b=2` spelling is accepted for a JSON object.
        names: Accepted names of a list that stays open to dotted class paths and plugins.
        unset: What happens when nobody sets it, where the defaults do not say it.
        default: Value that the worker promises where vLLM would choose otherwise.
        default_gpu: The same, on a machine with a GPU only.
        default_cpu: The same, on a machine without.
    """

    category: str | None = None
    title: str | None = None
    env: str | None = None
    aliases: tuple[str, ...] = ()
    bounds: Mapping[str, Any] = field(default_factory=dict)
    zero_is_unset: bool = False
    advanced: bool = True
    unit: str | None = None
    example: str | None = None
    pairs: bool = False
    names: tuple[str, ...] = ()
    unset: str | None = None
    default: Any = None
    default_gpu: Any = None
    default_cpu: Any = None


POSITIVE = {"minimum": 1}
PORT = {"minimum": 1, "maximum": 65535}
MEDIA_LIMITS = {
    "type": "object",
    "additionalProperties": {
        "anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}},
        ]
    },
}
CPU_LIST = r"\d+(-\d+)?(,\d+(-\d+)?)*"
MODEL, TOKENIZER, MEMORY = "Model", "Tokenizer", "Memory and context"
SPEED, PARALLEL, LORA = "Throughput", "GPUs", "LoRA"
OPENAI, MEDIA, SPECULATION, LOGS = "OpenAI API", "Images, audio, video", "Speculation", "Logging"

OVERRIDES: Mapping[str, Override] = {
    # Model
    "revision": Override(MODEL, "Model revision", aliases=("MODEL_REVISION",), example="main"),
    "quantization": Override(MODEL, advanced=False, example="awq"),
    "dtype": Override(MODEL, "Data type"),
    "load_format": Override(MODEL, example="safetensors"),
    "trust_remote_code": Override(MODEL),
    "code_revision": Override(MODEL),
    "config_format": Override(MODEL, names=("auto", "hf", "mistral")),
    "download_dir": Override(MODEL, example="/runpod-volume/models"),
    "ignore_patterns": Override(MODEL, example='["original/**/*"]'),
    "hf_overrides": Override(
        MODEL, "Hugging Face overrides", example='{"max_position_embeddings": 65536}'
    ),
    "model_loader_extra_config": Override(MODEL, example='{"concurrency": 32}'),
    "runner": Override(MODEL),
    "convert": Override(MODEL),
    # torch takes any seed, NumPy in the engine none below 0 or above 32 bits.
    "seed": Override(MODEL, bounds={"minimum": 0, "maximum": 2**32 - 1}),
    "enforce_eager": Override(MODEL, "Eager mode", default_cpu=True),
    "optimization_level": Override(MODEL, bounds={"enum": ["0", "1", "2", "3"]}),
    "generation_config": Override(MODEL, example="vllm"),
    "override_generation_config": Override(MODEL, example='{"temperature": 0.6}'),
    # Tokenizer
    "tokenizer": Override(TOKENIZER, aliases=("TOKENIZER_NAME",)),
    "tokenizer_mode": Override(TOKENIZER),
    "tokenizer_revision": Override(TOKENIZER),
    "skip_tokenizer_init": Override(TOKENIZER),
    "chat_template": Override(
        TOKENIZER,
        aliases=("CUSTOM_CHAT_TEMPLATE",),
        advanced=False,
        example="{% for m in messages %}{{ m.content }}{% endfor %}",
    ),
    "chat_template_content_format": Override(TOKENIZER),
    # Memory and context
    "max_model_len": Override(
        MEMORY, "Context length", advanced=False, unit="tokens", zero_is_unset=True, example="8192"
    ),
    "gpu_memory_utilization": Override(
        MEMORY, "GPU memory utilization", advanced=False, unit="ratio 0-1", default_gpu=0.95
    ),
    "kv_cache_dtype": Override(MEMORY, "KV cache type"),
    "kv_cache_memory_bytes": Override(
        MEMORY,
        "KV cache size",
        bounds=POSITIVE,
        unit="bytes",
        zero_is_unset=True,
        example="4G",
        unset="vLLM measures what is free; a small fixed size without a GPU",
    ),
    "block_size": Override(MEMORY, unit="tokens"),
    "num_gpu_blocks_override": Override(
        MEMORY, bounds=POSITIVE, unit="blocks", zero_is_unset=True, example="2048"
    ),
    "enable_prefix_caching": Override(MEMORY),
    "disable_sliding_window": Override(MEMORY),
    "cpu_offload_gb": Override(MEMORY, unit="GiB"),
    "kv_offloading_size": Override(bounds={"exclusiveMinimum": 0}, unit="GiB", zero_is_unset=True),
    # Throughput
    "max_num_seqs": Override(SPEED, "Max sequences", advanced=False, unit="sequences", default=256),
    "max_num_batched_tokens": Override(SPEED, unit="tokens", example="8192"),
    "enable_chunked_prefill": Override(SPEED),
    "async_scheduling": Override(SPEED),
    "scheduling_policy": Override(SPEED),
    "max_logprobs": Override(SPEED, unit="tokens", zero_is_unset=False),
    "attention_backend": Override(SPEED, aliases=("VLLM_ATTENTION_BACKEND",), example="FLASH_ATTN"),
    "compilation_config": Override(SPEED, example='{"cudagraph_capture_sizes": [1, 2, 4, 8]}'),
    "performance_mode": Override(SPEED),
    "api_server_count": Override(SPEED, bounds=POSITIVE, unit="processes", zero_is_unset=True),
    # GPUs
    "tensor_parallel_size": Override(
        PARALLEL, advanced=False, unit="GPUs", unset="all visible GPUs"
    ),
    "pipeline_parallel_size": Override(PARALLEL, unit="GPUs"),
    "data_parallel_size": Override(PARALLEL, unit="replicas"),
    "enable_expert_parallel": Override(PARALLEL),
    "distributed_executor_backend": Override(
        PARALLEL,
        names=("mp", "ray", "uni", "external_launcher"),
        example="mp",
    ),
    "disable_custom_all_reduce": Override(PARALLEL),
    "max_parallel_loading_workers": Override(PARALLEL, unit="workers"),
    "ray_workers_use_nsight": Override(PARALLEL),
    "data_parallel_size_local": Override(bounds=POSITIVE, unit="replicas", zero_is_unset=True),
    # LoRA
    "enable_lora": Override(LORA, "Enable LoRA"),
    "max_loras": Override(LORA, "Max LoRAs", unit="adapters"),
    "max_lora_rank": Override(LORA, "Max LoRA rank", unit="rank", zero_is_unset=True),
    "max_cpu_loras": Override(
        LORA, "Max CPU LoRAs", bounds=POSITIVE, unit="adapters", zero_is_unset=True
    ),
    "lora_dtype": Override(LORA, "LoRA data type"),
    "fully_sharded_loras": Override(LORA, "Fully sharded LoRAs"),
    "lora_modules": Override(
        LORA, "LoRA modules", example='[{"name": "sql", "path": "org/sql-adapter"}]'
    ),
    # OpenAI API
    "enable_auto_tool_choice": Override(OPENAI, advanced=False),
    "tool_call_parser": Override(OPENAI, advanced=False, example="hermes"),
    "reasoning_parser": Override(OPENAI, advanced=False, example="qwen3"),
    "response_role": Override(OPENAI, aliases=("OPENAI_RESPONSE_ROLE",)),
    "structured_outputs_config": Override(OPENAI, example='{"backend": "xgrammar"}'),
    "default_chat_template_kwargs": Override(OPENAI, example='{"enable_thinking": false}'),
    "enable_force_include_usage": Override(OPENAI),
    "allowed_origins": Override(
        example="https://app.example.com,http://localhost:3000",
        unset="pages of other origins may not use the server",
    ),
    # Images, audio, video
    "limit_mm_per_prompt": Override(
        MEDIA, bounds=MEDIA_LIMITS, pairs=True, example='{"image": 1, "video": 0}'
    ),
    "mm_processor_kwargs": Override(MEDIA, example='{"num_crops": 4}'),
    "media_io_kwargs": Override(MEDIA, example='{"video": {"num_frames": 40}}'),
    "allowed_local_media_path": Override(MEDIA, example="/runpod-volume/media"),
    "allowed_media_domains": Override(MEDIA, example="images.example.com"),
    # Speculation
    "speculative_config": Override(
        SPECULATION,
        "Speculative decoding",
        example='{"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 4}',
    ),
    # Logging
    "disable_log_stats": Override(LOGS),
    "enable_log_requests": Override(LOGS),
    "max_log_len": Override(LOGS, bounds=POSITIVE, unit="characters", zero_is_unset=True),
    "otlp_traces_endpoint": Override(LOGS, example="http://collector:4317"),
    # Checked by vLLM only at start, or by nothing
    "sse_keep_alive_interval": Override(bounds={"minimum": 0}, unit="seconds"),
    "master_port": Override(bounds=PORT),
    "data_parallel_rpc_port": Override(bounds=PORT),
    "data_parallel_rank": Override(bounds={"minimum": 0}),
    "data_parallel_backend": Override(bounds={"enum": ["mp", "ray"]}),
    "mamba_backend": Override(bounds={"enum": ["triton", "flashinfer", "cpu"]}),
    "numa_bind_nodes": Override(bounds={"items": {"type": "integer", "minimum": 0}}),
    "numa_bind_cpus": Override(bounds={"items": {"type": "string", "pattern": CPU_LIST}}),
    "show_hidden_metrics_for_version": Override(
        bounds={"pattern": r"^\d+(\.\d+)*$"}, example="0.31"
    ),
    "shutdown_timeout": Override(bounds={"minimum": 0}, unit="seconds"),
    "renderer_num_workers": Override(bounds=POSITIVE, unit="workers"),
    "kv_transfer_config": Override(
        bounds={"required": ["kv_connector"]}, example='{"kv_connector": "LMCacheConnectorV1"}'
    ),
    "distributed_timeout_seconds": Override(bounds=POSITIVE, unit="seconds", zero_is_unset=True),
    "max_num_queued_reqs": Override(unit="requests"),
}

WORKER_SETS = "the worker sets it itself"
WORKER_LISTENS = "vLLM listens on a private socket; the worker answers for it"
RESERVED: Mapping[str, str] = {
    **dict.fromkeys(("host", "port", "uds", "grpc", "grpc_port", "root_path"), WORKER_LISTENS),
    **dict.fromkeys(
        (
            "ssl_keyfile",
            "ssl_certfile",
            "ssl_ca_certs",
            "ssl_cert_reqs",
            "ssl_ciphers",
            "enable_ssl_refresh",
        ),
        "the platform ends TLS before the worker",
    ),
    "api_key": "the platform checks API keys before the worker",
    "hf_token": "set HF_TOKEN: it reaches vLLM through its environment and never a command line",
    "config": "set WORKER_CONFIG: its file may hold every option of vLLM",
    "disable_uvicorn_access_log": WORKER_SETS,
    "log_level": "set VLLM_LOGGING_LEVEL",
    "log_config_file": "set LOGGING_CONFIG with `pylogging_config_file`",
    "headless": "a worker without an API server cannot answer",
    "data_parallel_multi_port_external_lb": "one worker has one API address",
}
"""Options of vLLM that no setting reaches, with the reason or the way that does."""

COMMON = frozenset({"API_KEY", "CONFIG", "GRPC", "HEADLESS", "HOST", "LOG_LEVEL", "PORT", "UDS"})
"""Reserved names that other software sets; in the environment they are none of our business."""
