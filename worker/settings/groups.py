"""The worker's own settings, grouped as a user thinks of them; each is declared here only.

A field has its type, its bounds (`Field`) and its metadata (`Meta`); the docstring below it is its
description. First sentence: what it does, at most 100 characters. Then what unset means and what it
costs. No default in prose: it is rendered beside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker.metadata import Meta
from worker.settings.endpoint import ClusterSettings, EndpointSettings, HttpSettings
from worker.settings.types import SettingsModel

LogLevel = Literal["debug", "info", "warning", "error"]


class ModelSettings(SettingsModel):
    """Which model is served, and under which name."""

    name: Annotated[
        str,
        Meta(
            "MODEL_NAME", vllm_name="model", title="Model", advanced=False, example="Qwen/Qwen3-8B"
        ),
        Field(min_length=1),
    ] = "facebook/opt-125m"
    """Model to serve: a Hugging Face repository id or a local folder. Everything else, GPU
    included, is chosen after it."""
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
    """Name under which clients address the model. Unset, it is the model's repository id, or the
    last part of a local path; never a path."""
    hf_token: Annotated[
        SecretStr | None,
        Meta(
            aliases=("HUGGING_FACE_HUB_TOKEN",),
            console=False,
            advanced=False,
            example="hf_...",
            default_text="public models only",
        ),
    ] = None
    """Hugging Face access token, for gated and private models. It reaches the engine through its
    environment and is never printed; unset means public models only."""
    speculation: bool = False
    """Draft tokens ahead with the preset of the model's profile. The draft comes from a head in the
    checkpoint, a draft model, or n-grams of the prompt. Answers come faster while few requests run;
    many at once may get slower. Members of SPECULATIVE_CONFIG win over the preset's."""


class ServingSettings(SettingsModel):
    """How many jobs run at once and how long anything may take."""

    max_concurrency: Annotated[int, Meta(unit="jobs", advanced=False), Field(ge=1, le=10_000)] = 300
    """Most jobs that this worker takes from the queue at once. More jobs fill the GPU better and
    make each one slower; further jobs wait in the queue for another worker."""
    start_timeout_s: Annotated[
        float,
        Meta(aliases=("VLLM_STARTUP_TIMEOUT", "RUNPOD_INIT_TIMEOUT"), unit="seconds"),
        Field(gt=0, le=86_400),
    ] = 420.0
    """Longest time that loading the model may take before the worker gives up. The platform marks a
    worker unhealthy after 420 s unless RUNPOD_INIT_TIMEOUT is set; that variable counts here too.
    Raise it for a model that needs longer."""
    request_timeout_s: Annotated[
        float, Meta(aliases=("REQUEST_TIMEOUT",), unit="seconds"), Field(gt=0, le=604_800)
    ] = 3600.0
    """Longest time that one job may run before it is stopped and answered with an error. The
    endpoint's own execution timeout, 600 s unless changed there, applies as well."""
    drain_timeout_s: Annotated[float, Meta(unit="seconds"), Field(gt=0, le=3600)] = 30.0
    """Longest time that running jobs get to finish after the worker is asked to stop. What still
    runs then is cut off."""
    self_test: Annotated[bool, Meta(title="Self-test")] = True
    """Let vLLM answer one short request after loading, before the first job is taken. A worker that
    cannot answer then ends at once instead of failing jobs."""
    engine_silence_timeout_s: Annotated[float, Meta(unit="seconds"), Field(ge=1, le=86_400)] = 60.0
    """Longest time without an answer from vLLM's server before it counts as hung. Running jobs then
    fail with an error that allows another try, and the worker ends."""
    engine_stall_timeout_s: Annotated[float, Meta(unit="seconds"), Field(ge=1, le=86_400)] = 300.0
    """Longest time that jobs may run without any progress in vLLM's statistics. The engine then
    counts as hung, although its server still answers. Has no effect with DISABLE_LOG_STATS."""


class StartupSettings(SettingsModel):
    """How fast the first answer comes."""

    profile: Annotated[
        Literal["balanced", "fast", "throughput"], Meta("STARTUP_PROFILE", title="Start-up profile")
    ] = "balanced"
    """What a start is tuned for. `fast` compiles nothing and captures CUDA graphs of 9 sizes, for a
    model that starts often without cached compiled code; `throughput` optimizes most and starts
    slowest; `balanced` compiles as vLLM itself chooses. The last two start several API servers of
    vLLM where MAX_CONCURRENCY, cores and main memory allow. OPTIMIZATION_LEVEL, COMPILATION_CONFIG,
    CUDAGRAPH_CAPTURE_SIZES and API_SERVER_COUNT win over it."""
    prefetch_weights: bool = True
    """Read the weights into memory while vLLM is still being imported. It helps where they are on a
    volume or a cold disk, and stops at half of the free memory."""
    cache_path: Annotated[
        Path | None,
        Meta(
            example="/runpod-volume/worker-cache",
            default_text="`worker-cache` on the volume, where there is one",
        ),
    ] = None
    """Folder that keeps compiled code and memory profiles between starts. It is copied to the local
    disk at start, and what is new goes back once the model answers."""


class RequestSettings(SettingsModel):
    """Defaults and limits of requests."""

    default_max_tokens: Annotated[int, Meta(unit="tokens"), Field(ge=1, le=10_000_000)] = 16
    """Most tokens to generate for a native request that has no `max_tokens`. OpenAI routes go by
    vLLM's own rules."""
    open_control_routes: Annotated[bool, Meta(console=False)] = False
    """Let jobs call the routes that control or inspect the server: metrics, sleep, adapters.
    Anybody who can send a job can then stop or change what others use. A route may also need
    vLLM's own setting."""
    allow_private_media: Annotated[bool, Meta(console=False)] = False
    """Fetch media that requests name by URL from private, loopback and link-local addresses too.
    Anybody who can send a job then reaches what only this machine can: other services in its
    network, and the cloud's metadata."""
    max_grammar_bytes: Annotated[
        int, Meta(title="Max grammar size", unit="bytes"), Field(ge=1000, le=100_000_000)
    ] = 65_536
    """Largest form that a request may demand of its output, as JSON. That is a schema, choices, a
    regular expression, a grammar or strict tools. vLLM compiles it while other structured requests
    wait, and the time grows faster than the size."""
    max_stop_strings: Annotated[
        int,
        Meta("VLLM_MAX_STOP_STRINGS", unit="strings"),
        Field(ge=1, le=10_000),
    ] = 64
    """Most stop strings in one request. vLLM's own limit is 4, as in OpenAI's API; each string is
    searched for in every piece of text, so a very high limit costs speed."""
    reject_unknown_parameters: bool = False
    """Refuse a request that has a parameter without effect, such as one that only another server
    knows. Otherwise such parameters are ignored, as vLLM does, and named in the log and in the
    response header `X-Ignored-Parameters`."""


class StreamingSettings(SettingsModel):
    """How many tokens travel together when an answer is streamed."""

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
    """Tokens in the first chunk of a streamed answer. One shows the first word at once."""
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
    """Most tokens in one chunk of a streamed answer. Larger chunks cost fewer messages and arrive
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
    """Factor by which each chunk of a streamed answer may be larger than the one before. One keeps
    all chunks at the largest size."""
    max_delay_ms: Annotated[
        float,
        Meta("STREAM_MAX_DELAY_MS", unit="milliseconds", title="Streaming: longest delay"),
        Field(ge=0, le=60_000),
    ] = 50.0
    """Longest time after one chunk of a stream that the next one waits to fill. It bounds what
    batching can cost a reader; zero sends everything at once. The load can ask for more."""
    raw_openai_output: bool = True
    """Send OpenAI-compatible streams as raw server-sent events. RunPod's OpenAI gateway needs them
    raw; false sends parsed objects, for clients that read the job's stream themselves."""


class LoggingSettings(SettingsModel):
    """What is written to the log."""

    level: Annotated[LogLevel, Meta("WORKER_LOG_LEVEL", title="Worker log level")] = "info"
    """Least severe message that the worker logs. Debug shows each job's path through the worker,
    without prompts or answers."""
    format: Annotated[
        Literal["auto", "json", "text"], Meta("WORKER_LOG_FORMAT", title="Worker log format")
    ] = "auto"
    """Form of the worker's own log lines. Auto writes JSON with the job's id on RunPod, whose
    console reads it, and text elsewhere."""
    engine_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        Meta("VLLM_LOGGING_LEVEL", title="Engine log level"),
    ] = "INFO"
    """Least severe message that vLLM logs. Debug is verbose and slows the engine down."""
    usage_records: Annotated[bool, Meta("USAGE_RECORDS", title="Usage records")] = False
    """Log one JSON object per request: model, tokens, seconds, GPU time and its price. The share of
    the GPU's time is what other requests leave at that moment; no content is logged. Over HTTP a
    whole answer has the same object in the header `X-Worker-Usage`."""
    otlp_metrics_endpoint: Annotated[
        str | None,
        Meta("OTLP_METRICS_ENDPOINT", example="http://collector:4318", title="OTLP metrics"),
        Field(pattern=r"^https?://[^\s/]+"),
    ] = None
    """Collector to which metrics of requests are pushed, by OTLP over HTTP. The names are those of
    OpenTelemetry's GenAI conventions. Headers for it, such as a key, are in
    `OTEL_EXPORTER_OTLP_HEADERS`."""


class StorageSettings(SettingsModel):
    """Where models and caches are kept."""

    base_path: Annotated[
        Path | None, Meta(example="/runpod-volume", default_text="/runpod-volume where it exists")
    ] = None
    """Folder that holds the model cache, in its subfolder `huggingface-cache`. Unset, it is
    `/runpod-volume` where that exists, and otherwise the libraries' own cache folders."""


class SourceSettings(SettingsModel):
    """Where settings come from, beside the environment; read from the environment only."""

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
    """YAML file of settings: any name on these pages, in lower case. The environment overrides it
    value by value."""
    profile: Annotated[
        str | None,
        Meta(
            aliases=("WORKER_PROFILE",),
            example="qwen3-8b",
            default_text="the profile of MODEL_NAME, if there is one",
        ),
    ] = None
    """Profile to start from: the name of one that is built in, or the path of a YAML file. File and
    environment override it value by value."""
    auto_profile: Annotated[bool, Meta(title="Automatic profile")] = True
    """Whether a model that has a built-in profile gets it without asking. False leaves every choice
    to vLLM where nobody set it; PROFILE still works."""
    baked_file: Annotated[Path, Meta(title="Manifest of the baked model", console=False)] = Path(
        "/opt/worker/baked.json"
    )
    """Manifest of the model inside the image, written by `worker bake`. Where there is one, the
    worker serves that model, unless the settings name another; an absent file means that nothing
    was baked."""
    allowed_variables: Annotated[
        str | None,
        Meta("WORKER_ALLOWED_VARIABLES", example="MODEL_NAMES,TEAM_*", default_text="none"),
    ] = None
    """Environment variables that look like misspelt settings and are not. Names, comma-separated;
    `*` stands for any characters."""


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
    streaming: StreamingSettings = StreamingSettings()
    logging: LoggingSettings = LoggingSettings()
    storage: StorageSettings = StorageSettings()
    sources: Annotated[SourceSettings, Meta(title="Configuration")] = SourceSettings()
