"""The worker's own settings, grouped as a user thinks of them; each is declared here only."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from worker.settings.cluster import ClusterSettings
from worker.settings.field import Group, Words, setting
from worker.settings.startup import StartupSettings

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "text"]
EngineLogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
WorkerMode = Literal["auto", "queue", "load-balancer", "pod"]


class ModelSettings(Group):
    """Which model is served, and under which name."""

    name: str = setting(
        "facebook/opt-125m",
        "Model to serve: a Hugging Face repository id or a local folder. "
        "Everything else, GPU included, is chosen after it.",
        Words(
            env="MODEL_NAME",
            option="model",
            title="Model",
            advanced=False,
            example="Qwen/Qwen3-8B",
        ),
        min_length=1,
    )
    served_name: str = setting(
        "",
        "Name under which clients address the model. Unset, it is the model's repository id, or "
        "the last part of a local path; never a path.",
        Words(
            env="OPENAI_SERVED_MODEL_NAME_OVERRIDE",
            aliases=("SERVED_MODEL_NAME",),
            option="served_model_name",
            title="Served model name",
            advanced=False,
            example="my-model",
            unset="the model's name",
        ),
    )
    hf_token: SecretStr | None = setting(
        None,
        "Hugging Face access token, for gated and private models. It reaches the engine through "
        "its environment and is never printed; unset means public models only.",
        Words(
            env="HF_TOKEN",
            aliases=("HUGGING_FACE_HUB_TOKEN",),
            secret=True,
            console=False,
            advanced=False,
            example="hf_...",
            unset="public models only",
        ),
    )


class ServingSettings(Group):
    """How many jobs run at once and how long anything may take."""

    max_concurrency: int = setting(
        300,
        "Most jobs that this worker takes from the queue at once. More jobs fill the GPU better "
        "and make each one slower; further jobs wait in the queue for another worker.",
        Words(unit="jobs", title="Max concurrency", advanced=False),
        ge=1,
        le=10_000,
    )
    start_timeout_s: float = setting(
        420.0,
        "Longest time that loading the model may take before the worker gives up. The platform "
        "marks a worker unhealthy after 420 s unless RUNPOD_INIT_TIMEOUT says otherwise, so that "
        "variable counts here too: raise it for a model that needs longer.",
        Words(
            aliases=("VLLM_STARTUP_TIMEOUT", "RUNPOD_INIT_TIMEOUT"),
            unit="seconds",
            title="Start timeout",
        ),
        gt=0,
        le=86_400,
    )
    request_timeout_s: float = setting(
        3600.0,
        "Longest time that one job may run before it is stopped and answered with an error. The "
        "endpoint's own execution timeout, 600 s unless changed there, applies as well.",
        Words(aliases=("REQUEST_TIMEOUT",), unit="seconds", title="Request timeout"),
        gt=0,
        le=604_800,
    )
    drain_timeout_s: float = setting(
        30.0,
        "Longest time that running jobs get to finish after the worker was told to stop. What "
        "still runs then is cut off.",
        Words(unit="seconds", title="Drain timeout"),
        gt=0,
        le=3600,
    )
    self_test: bool = setting(
        True,
        "Let vLLM answer one short request after loading, before the first job is taken. A worker "
        "that cannot answer then ends at once instead of failing jobs.",
        Words(title="Self-test"),
    )
    engine_silence_timeout_s: float = setting(
        60.0,
        "Longest time without an answer from vLLM's server before it counts as hung. Running jobs "
        "then fail with an error that allows another try, and the worker ends.",
        Words(unit="seconds", title="Engine silence timeout"),
        ge=1,
        le=86_400,
    )
    engine_stall_timeout_s: float = setting(
        300.0,
        "Longest time that jobs may run without any progress in vLLM's statistics. The engine then "
        "counts as hung, although its server still answers. Has no effect with DISABLE_LOG_STATS.",
        Words(unit="seconds", title="Engine stall timeout"),
        ge=1,
        le=86_400,
    )


class EndpointSettings(Group):
    """How requests reach the worker."""

    mode: WorkerMode = setting(
        "auto",
        "Where requests come from: RunPod's job queue, its load balancer, or HTTP on a pod. `auto` "
        "takes the queue where RunPod names one, else the load balancer on an endpoint, else the "
        "pod; `worker start --mode` says it on the command line.",
        Words(env="WORKER_MODE", title="Mode", console=False),
    )
    http_port: int | None = setting(
        None,
        "Port for HTTP behind a load balancer and on a pod. RunPod's `PORT` counts.",
        Words(
            aliases=("PORT",),
            unit="port number",
            title="HTTP port",
            console=False,
            example="8000",
            unset="80 behind a load balancer, 8000 on a pod",
        ),
        ge=1,
        le=65_535,
    )
    health_port: int | None = setting(
        None,
        "Port that answers health checks; it may be the one for HTTP.",
        Words(
            env="PORT_HEALTH",
            unit="port number",
            title="Health port",
            console=False,
            example="8001",
            unset="the HTTP port",
        ),
        ge=1,
        le=65_535,
    )
    health_path: str = setting(
        "/ping",
        "Path of the health check: 204 while the model loads, 200 when it answers, 503 when the "
        "worker ends.",
        Words(env="HEALTH_CHECK_PATH", title="Health path", console=False),
        pattern=r"^/[A-Za-z0-9._~/-]{1,199}$",
    )
    api_key: SecretStr | None = setting(
        None,
        "Key that every HTTP request must bring, as a Bearer token or in `x-api-key`. Behind "
        "RunPod's queue and load balancer the platform checks its own; on a pod nobody else does.",
        Words(
            env="WORKER_API_KEY",
            aliases=("VLLM_API_KEY",),
            title="API key",
            secret=True,
            console=False,
            example="sk-...",
            unset="no key is asked for",
        ),
        min_length=8,
    )


class RequestSettings(Group):
    """What a request gets and may do where it says nothing."""

    default_max_tokens: int = setting(
        16,
        "Most tokens to generate for a native request that has no `max_tokens`. OpenAI routes "
        "go by vLLM's own rules.",
        Words(unit="tokens", title="Default max tokens"),
        ge=1,
        le=10_000_000,
    )
    open_control_routes: bool = setting(
        False,
        "Let jobs call the routes that control or inspect the server: metrics, sleep, adapters. "
        "Whoever can send a job can then stop or change what others use; a route may also need "
        "vLLM's own setting.",
        Words(title="Open control routes", console=False),
    )
    allow_private_media: bool = setting(
        False,
        "Fetch media that requests name by URL from private, loopback and link-local addresses "
        "too. Whoever can send a job then reaches what only this machine can: other services in "
        "its network, and the cloud's metadata.",
        Words(title="Allow private media", console=False),
    )
    max_stop_strings: int = setting(
        64,
        "Most stop strings in one request. vLLM's own limit is 4, as in OpenAI's API; each string "
        "is searched for in every piece of text, so a very high limit costs speed.",
        Words(env="VLLM_MAX_STOP_STRINGS", unit="strings", title="Max stop strings"),
        ge=1,
        le=10_000,
    )
    reject_unknown_parameters: bool = setting(
        False,
        "Refuse a request that has a parameter without effect, such as one that only another "
        "server knows. Otherwise such parameters are ignored, as vLLM does, and named in the log "
        "and in the response header `X-Ignored-Parameters`.",
        Words(title="Reject unknown parameters"),
    )


class StreamingSettings(Group):
    """How many tokens travel together when an answer is streamed."""

    min_batch_size: int = setting(
        1,
        "Tokens in the first piece of a streamed answer. One shows the first word at once.",
        Words(
            env="DEFAULT_MIN_BATCH_SIZE",
            aliases=("MIN_BATCH_SIZE",),
            unit="tokens",
            title="Streaming: first batch size",
        ),
        ge=1,
        le=100_000,
    )
    max_batch_size: int = setting(
        50,
        "Most tokens in one piece of a streamed answer. Larger pieces cost fewer messages and "
        "arrive less smoothly.",
        Words(
            env="DEFAULT_BATCH_SIZE",
            aliases=("MAX_BATCH_SIZE",),
            unit="tokens",
            title="Streaming: largest batch size",
        ),
        ge=1,
        le=100_000,
    )
    batch_size_growth_factor: float = setting(
        3.0,
        "Factor by which each piece of a streamed answer may be larger than the one before. One "
        "keeps all pieces at the largest size.",
        Words(
            env="DEFAULT_BATCH_SIZE_GROWTH_FACTOR",
            aliases=("BATCH_SIZE_GROWTH_FACTOR",),
            unit="ratio",
            title="Streaming: batch growth factor",
        ),
        ge=1,
        le=1000,
    )
    max_delay_ms: float = setting(
        50.0,
        "Longest time after one piece of a stream that the next one waits to fill. It bounds what "
        "batching can cost a reader; zero sends everything at once. The load can ask for more.",
        Words(
            env="STREAM_MAX_DELAY_MS",
            unit="milliseconds",
            title="Streaming: longest delay",
        ),
        ge=0,
        le=60_000,
    )
    raw_openai_output: bool = setting(
        True,
        "Send OpenAI-compatible streams as raw server-sent events. RunPod's OpenAI gateway needs "
        "them raw; false sends parsed objects, for clients that read the job's stream themselves.",
        Words(title="Raw OpenAI output"),
    )


class LoggingSettings(Group):
    """What is written to the log."""

    level: LogLevel = setting(
        "info",
        "Least severe message that the worker logs. Debug shows each job's path through the "
        "worker, without prompts or answers.",
        Words(env="WORKER_LOG_LEVEL", title="Worker log level"),
    )
    format: LogFormat = setting(
        "auto",
        "Form of the worker's own log lines. Auto writes JSON with the job's id on RunPod, whose "
        "console reads it, and text elsewhere.",
        Words(env="WORKER_LOG_FORMAT", title="Worker log format"),
    )
    engine_level: EngineLogLevel = setting(
        "INFO",
        "Least severe message that vLLM logs. Debug is verbose and slows the engine down.",
        Words(env="VLLM_LOGGING_LEVEL", title="Engine log level"),
    )


class StorageSettings(Group):
    """Where models and caches are kept."""

    base_path: Path | None = setting(
        None,
        "Folder that holds the model cache, in its subfolder `huggingface-cache`. Unset, it is "
        "`/runpod-volume` where that exists, and otherwise the libraries' own cache folders.",
        Words(
            title="Base path",
            example="/runpod-volume",
            unset="/runpod-volume where it exists",
        ),
    )


class SourceSettings(Group):
    """Where settings come from, beside the environment; read from the environment only."""

    config_file: Path | None = setting(
        None,
        "YAML file of settings: any name on these pages, in lower case. The environment overrides "
        "it value by value.",
        Words(
            env="WORKER_CONFIG",
            aliases=("VLLM_CONFIG_FILE",),
            title="Configuration file",
            example="/runpod-volume/worker.yaml",
            unset="no file",
        ),
    )
    profile: str | None = setting(
        None,
        "Profile to start from: the name of one that is built in, or the path of a YAML file. "
        "File and environment override it value by value.",
        Words(
            aliases=("WORKER_PROFILE",),
            title="Profile",
            example="qwen3-8b",
            unset="the profile of MODEL_NAME, if there is one",
        ),
    )
    auto_profile: bool = setting(
        True,
        "Whether a model that has a built-in profile gets it without asking. False leaves every "
        "choice to vLLM where nobody set it; PROFILE still works.",
        Words(title="Automatic profile"),
    )
    baked_file: Path = setting(
        Path("/opt/worker/baked.json"),
        "Manifest of the model inside the image, written by `worker bake`. Where there is one, the "
        "worker serves that model, unless the settings name another; an absent file means that "
        "nothing was baked.",
        Words(title="Manifest of the baked model", console=False),
    )
    allowed_variables: str | None = setting(
        None,
        "Environment variables that look like misspelt settings and are not. Names, "
        "comma-separated; `*` stands for any characters.",
        Words(
            env="WORKER_ALLOWED_VARIABLES",
            title="Allowed variables",
            example="MODEL_NAMES,TEAM_*",
            unset="none",
        ),
    )


class WorkerSettings(Group):
    """All groups; their order is the order of docs and forms."""

    model: ModelSettings = Field(ModelSettings(), description="Which model is served.")
    serving: ServingSettings = Field(ServingSettings(), description="Jobs at once, time limits.")
    endpoint: EndpointSettings = Field(EndpointSettings(), description="Where requests come from.")
    cluster: ClusterSettings = Field(ClusterSettings(), description="Several machines.")
    startup: StartupSettings = Field(StartupSettings(), description="How fast a start is.")
    requests: RequestSettings = Field(RequestSettings(), description="Defaults of requests.")
    streaming: StreamingSettings = Field(StreamingSettings(), description="Pieces of an answer.")
    logging: LoggingSettings = Field(LoggingSettings(), description="What is logged.")
    storage: StorageSettings = Field(StorageSettings(), description="Where models are kept.")
    sources: SourceSettings = Field(SourceSettings(), description="Profile and file.")
