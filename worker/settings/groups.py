"""The worker's own settings, grouped for users; each is declared here only.

A field has a type, bounds (`Field`) and metadata (`Meta`). The docstring below it is its
description. The first sentence says what it does, in at most 100 characters. The rest says what
unset means and what the setting costs. The default is rendered separately.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker.metadata import Meta
from worker.models.adapters import read_sources
from worker.redaction import SECRET_REFERENCE
from worker.settings.endpoint import ClusterSettings, EndpointSettings, HttpSettings
from worker.settings.types import SettingsModel
from worker.validation_errors import invalid_value

LogLevel = Literal["debug", "info", "warning", "error"]


TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""A token that can be sent in a header (RFC 6750, 2.1)."""


def _check_token(token: SecretStr) -> SecretStr:
    text = token.get_secret_value()
    # The check before a deployment sees the reference; RunPod replaces it when a worker starts.
    if not TOKEN.fullmatch(text) and not SECRET_REFERENCE.fullmatch(text):
        raise invalid_value("not a token", "the token alone, without quotes, spaces or `Bearer`")
    return token


class ModelSettings(SettingsModel):
    """Which model is served, and under which name."""

    name: Annotated[
        str,
        Meta(
            "MODEL_NAME", vllm_name="model", title="Model", advanced=False, example="Qwen/Qwen3-8B"
        ),
        Field(min_length=1),
    ] = "facebook/opt-125m"
    """Model to serve: a Hugging Face repository id or a local folder. Choose the GPU and all other
    settings for this model."""
    served_name: Annotated[
        str,
        Meta(
            "OPENAI_SERVED_MODEL_NAME_OVERRIDE",
            aliases=("SERVED_MODEL_NAME",),
            vllm_name="served_model_name",
            title="Served model name",
            advanced=False,
            example="my-model",
            default_text="the model's name",
        ),
    ] = ""
    """Name that clients use for the model. If unset, it is the repository id, or the last part of
    a local path."""
    hf_token: Annotated[
        Annotated[SecretStr, AfterValidator(_check_token)] | None,
        Meta(
            aliases=(
                *("HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN", "HUGGINGFACE_TOKEN"),
                "HUGGINGFACEHUB_API_TOKEN",
            ),
            console=False,
            advanced=False,
            example="hf_...",
            default_text="public models only",
        ),
    ] = None
    """Hugging Face access token, for gated and private models. It is never printed. Without it,
    only public models can be downloaded."""
    speculation: bool = False
    """Turn on speculative decoding with the preset of the model's profile. The preset uses a draft
    head in the checkpoint, a draft model, or n-grams of the prompt. Answers are faster while few
    requests run; with many requests they may be slower. SPECULATIVE_CONFIG overrides values of the
    preset."""


class ServingSettings(SettingsModel):
    """How many jobs run at once and how long anything may take."""

    max_concurrency: Annotated[int, Meta(unit="jobs", advanced=False), Field(ge=1, le=10_000)] = 300
    """Maximum number of jobs that this worker runs concurrently. More jobs use the GPU better, but
    each job takes longer. Further jobs wait in the queue for another worker."""
    start_timeout_s: Annotated[
        float,
        Meta(aliases=("VLLM_STARTUP_TIMEOUT", "RUNPOD_INIT_TIMEOUT"), unit="seconds"),
        Field(gt=0, le=86_400),
    ] = 420.0
    """Maximum time for loading the model. RunPod marks a worker as unhealthy after 420 s unless
    RUNPOD_INIT_TIMEOUT is set. That variable is also an alias of this setting. Raise it for large
    models."""
    request_timeout_s: Annotated[
        float, Meta(aliases=("REQUEST_TIMEOUT",), unit="seconds"), Field(gt=0, le=604_800)
    ] = 3600.0
    """Maximum time of one job, after which it is stopped with an error. The execution timeout of
    the endpoint (600 s unless changed) applies as well."""
    drain_timeout_s: Annotated[float, Meta(unit="seconds"), Field(gt=0, le=3600)] = 30.0
    """Time that running jobs get to finish after the worker is asked to stop. Jobs that are still
    running then fail."""
    self_test: Annotated[bool, Meta(title="Self-test")] = True
    """Send vLLM one short request after loading, before the first job. If it fails, the worker
    exits instead of failing jobs."""
    engine_silence_timeout_s: Annotated[float, Meta(unit="seconds"), Field(ge=1, le=86_400)] = 60.0
    """Time without a response from vLLM's server after which it counts as hung. Running jobs then
    fail with a retryable error, and the worker exits."""
    engine_stall_timeout_s: Annotated[float, Meta(unit="seconds"), Field(ge=1, le=86_400)] = 300.0
    """Time without progress of running jobs after which the engine counts as hung. Progress is read
    from vLLM's statistics; the server may still respond. Has no effect with DISABLE_LOG_STATS."""


class StartupSettings(SettingsModel):
    """How a start is optimized."""

    profile: Annotated[
        Literal["balanced", "fast", "throughput"], Meta("STARTUP_PROFILE", title="Start-up profile")
    ] = "balanced"
    """Trade-off between a fast start and fast decoding. `fast` compiles nothing and captures CUDA
    graphs of 9 sizes; use it for frequent starts without cached compiled code. `throughput`
    optimizes most and starts slowest. `balanced` compiles as vLLM chooses. The last two start
    several of vLLM's API servers if MAX_CONCURRENCY, cores and main memory allow.
    OPTIMIZATION_LEVEL, COMPILATION_CONFIG, CUDAGRAPH_CAPTURE_SIZES and API_SERVER_COUNT override
    it."""
    prefetch_weights: bool = True
    """Read the weights into memory while vLLM is imported. It helps if they are on a volume or a
    cold disk. It uses at most half of the free memory."""
    cache_path: Annotated[
        Path | None,
        Meta(
            example="/runpod-volume/worker-cache",
            default_text="`worker-cache` on the volume, if there is one",
        ),
    ] = None
    """Folder that keeps compiled code and memory profiles between starts. It is copied to the local
    disk at start, and new files are copied back after the self-test."""


class RequestSettings(SettingsModel):
    """Defaults and limits of requests."""

    default_max_tokens: Annotated[int, Meta(unit="tokens"), Field(ge=1, le=10_000_000)] = 16
    """Value of `max_tokens` in native requests without it. OpenAI routes follow vLLM's rules."""
    open_control_routes: Annotated[bool, Meta(console=False)] = False
    """Allow jobs to call the routes that control or inspect the server: metrics, sleep, adapters.
    Anybody who can send a job can then affect other users. Some routes also need a setting of
    vLLM."""
    allow_private_media: Annotated[bool, Meta(console=False)] = False
    """Allow media URLs in requests that point to private, loopback and link-local addresses.
    Anybody who can send a job can then reach services in the worker's network and the cloud's
    metadata."""
    max_grammar_bytes: Annotated[
        int, Meta(title="Max grammar size", unit="bytes"), Field(ge=1000, le=100_000_000)
    ] = 65_536
    """Maximum size of a structured-output constraint, as JSON. This applies to schemas, choices,
    regular expressions, grammars and strict tools. While vLLM compiles one, other structured
    requests wait, and the time grows faster than the size."""
    max_stop_strings: Annotated[
        int,
        Meta("VLLM_MAX_STOP_STRINGS", unit="strings"),
        Field(ge=1, le=10_000),
    ] = 64
    """Maximum number of stop strings in one request. vLLM's own limit is 4, as in OpenAI's API.
    Each string is searched for in all generated text, so many strings cost speed."""
    reject_unknown_parameters: bool = False
    """Reject requests with parameters that have no effect, such as those of other servers.
    Otherwise such parameters are ignored, as in vLLM, and reported in the log and in the response
    header `X-Ignored-Parameters`."""


def _join_sources(value: object) -> object:
    """Accept a JSON array, and the list of a YAML file."""
    if isinstance(value, str) and value.startswith("["):
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    return value


def _check_sources(text: str) -> str:
    read_sources(text)
    return text


class AdapterSettings(SettingsModel):
    """Which LoRA adapters requests may name."""

    lora_allowed: Annotated[
        Annotated[str, BeforeValidator(_join_sources), AfterValidator(_check_sources)] | None,
        Meta(
            example="my-org/*,/runpod-volume/adapters",
            title="LoRA adapters by name",
            default_text="those of LORA_MODULES only",
        ),
    ] = None
    """LoRA adapters that requests may name in `model`. Patterns of Hugging Face repositories, and
    folders whose subfolders are adapters, comma-separated or as a JSON array. An adapter is fetched
    by the first request that names it. Turns ENABLE_LORA on, with room for several adapters."""


class StreamingSettings(SettingsModel):
    """How a streamed answer is divided into chunks."""

    min_batch_size: Annotated[
        int,
        Meta(
            "DEFAULT_MIN_BATCH_SIZE",
            aliases=("MIN_BATCH_SIZE",),
            unit="tokens",
            title="Streaming: first batch size",
        ),
        Field(ge=1, le=100_000),
    ] = 1
    """Tokens in the first chunk of a streamed answer."""
    max_batch_size: Annotated[
        int,
        Meta(
            "DEFAULT_BATCH_SIZE",
            aliases=("MAX_BATCH_SIZE",),
            unit="tokens",
            title="Streaming: largest batch size",
        ),
        Field(ge=1, le=100_000),
    ] = 50
    """Maximum tokens in one chunk of a streamed answer. Larger chunks need fewer posts and arrive
    less smoothly."""
    batch_size_growth_factor: Annotated[
        float,
        Meta(
            "DEFAULT_BATCH_SIZE_GROWTH_FACTOR",
            aliases=("BATCH_SIZE_GROWTH_FACTOR",),
            unit="ratio",
            title="Streaming: batch growth factor",
        ),
        Field(ge=1, le=1000),
    ] = 3.0
    """Factor by which each chunk of a streamed answer may be larger than the previous one. With 1,
    all chunks have the maximum size."""
    max_delay_ms: Annotated[
        float,
        Meta("STREAM_MAX_DELAY_MS", unit="milliseconds", title="Streaming: longest delay"),
        Field(ge=0, le=60_000),
    ] = 50.0
    """Maximum time between two chunks of a stream while tokens are available. With 0, every event
    is sent at once. Under load, the time can be longer."""
    raw_openai_output: bool = True
    """Send OpenAI-compatible streams as raw server-sent events. RunPod's OpenAI gateway needs this.
    Set it to false to send parsed objects to clients that read the job's stream themselves."""


class LoggingSettings(SettingsModel):
    """What is written to the log."""

    level: Annotated[LogLevel, Meta("WORKER_LOG_LEVEL", title="Worker log level")] = "info"
    """Log level of the worker. `debug` logs each step of a job, without prompts or answers."""
    format: Annotated[
        Literal["auto", "json", "text"], Meta("WORKER_LOG_FORMAT", title="Worker log format")
    ] = "auto"
    """Format of the worker's log lines. `auto` writes JSON with the job's id on RunPod, for its
    console, and text elsewhere."""
    engine_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        Meta("VLLM_LOGGING_LEVEL", title="Engine log level"),
    ] = "INFO"
    """Log level of vLLM. `DEBUG` is verbose and slows down the engine."""
    usage_records: Annotated[bool, Meta("USAGE_RECORDS", title="Usage records")] = False
    """Log one JSON object per request: model, tokens, seconds, GPU time and price. GPU time is
    shared equally among the requests that run at the same time. No content is logged. Over HTTP,
    answers without streaming have the same object in the header `X-Worker-Usage`."""
    otlp_metrics_endpoint: Annotated[
        str | None,
        Meta("OTLP_METRICS_ENDPOINT", example="http://collector:4318", title="OTLP metrics"),
        Field(pattern=r"^https?://[^\s/]+"),
    ] = None
    """Collector that receives metrics of requests, by OTLP over HTTP. The names follow
    OpenTelemetry's GenAI conventions. Set headers, such as a key, in
    `OTEL_EXPORTER_OTLP_HEADERS`."""


class StorageSettings(SettingsModel):
    """Where models and caches are kept."""

    base_path: Annotated[
        Path | None, Meta(example="/runpod-volume", default_text="/runpod-volume where it exists")
    ] = None
    """Folder of the model cache, which is its subfolder `huggingface-cache`. If unset, it is
    `/runpod-volume` if that exists, and otherwise Hugging Face's own cache folder."""


class SourceSettings(SettingsModel):
    """Other sources of settings; these are read from the environment only."""

    config_file: Annotated[
        Path | None,
        Meta(
            "WORKER_CONFIG",
            aliases=("VLLM_CONFIG_FILE",),
            title="Configuration file",
            example="/runpod-volume/worker.yaml",
            default_text="no file",
        ),
    ] = None
    """YAML file with settings, in lower case. The environment overrides each value."""
    profile: Annotated[
        str | None,
        Meta(
            aliases=("WORKER_PROFILE",),
            example="qwen3-8b",
            default_text="the profile of MODEL_NAME, if there is one",
        ),
    ] = None
    """Profile to use: the name of a built-in profile or the path of a YAML file. Configuration file
    and environment override each of its values."""
    auto_profile: Annotated[bool, Meta(title="Automatic profile")] = True
    """Use the built-in profile of the model, if there is one. PROFILE also works if this is
    false."""
    baked_file: Annotated[Path, Meta(title="Manifest of the baked model", console=False)] = Path(
        "/opt/worker/baked.json"
    )
    """Manifest of the model in the image, written by `worker bake`. If it exists, the worker serves
    that model unless the settings name another."""
    allowed_variables: Annotated[
        str | None,
        Meta("WORKER_ALLOWED_VARIABLES", example="MODEL_NAMES,TEAM_*", default_text="none"),
    ] = None
    """Environment variables that look like misspelt settings but are not. Comma-separated names;
    `*` matches any characters."""


class WorkerSettings(BaseSettings):
    """All groups; their order is the order of docs and forms."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    model: ModelSettings = ModelSettings()
    serving: ServingSettings = ServingSettings()
    endpoint: Annotated[EndpointSettings, Meta(console=False)] = EndpointSettings()
    http: Annotated[HttpSettings, Meta(env_prefix="HTTP_", console=False)] = HttpSettings()
    cluster: Annotated[ClusterSettings, Meta(title="Several machines", console=False)] = (
        ClusterSettings()
    )
    startup: Annotated[StartupSettings, Meta(title="Start-up")] = StartupSettings()
    requests: RequestSettings = RequestSettings()
    adapters: Annotated[AdapterSettings, Meta(title="LoRA")] = AdapterSettings()
    streaming: StreamingSettings = StreamingSettings()
    logging: LoggingSettings = LoggingSettings()
    storage: StorageSettings = StorageSettings()
    sources: Annotated[SourceSettings, Meta(title="Configuration")] = SourceSettings()
