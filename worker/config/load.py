"""From an environment to `Settings`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from worker.config.field import WORDS, Words
from worker.config.groups import WorkerSettings
from worker.config.hardware import GIB, Hardware, detect_hardware
from worker.config.settings import Settings
from worker.errors import ConfigurationError, Problem

FIRST_OPTIONS = (
    "MAX_MODEL_LEN",
    "QUANTIZATION",
    "DTYPE",
    "LOAD_FORMAT",
    "TOKENIZER",
    "REVISION",
    "SEED",
    "MAX_NUM_SEQS",
    "MAX_NUM_BATCHED_TOKENS",
    "GPU_MEMORY_UTILIZATION",
    "TENSOR_PARALLEL_SIZE",
    "TOOL_CALL_PARSER",
    "CHAT_TEMPLATE",
    "API_SERVER_COUNT",
    "KV_CACHE_MEMORY_BYTES",
)
FIRST_FLAGS = ("ENABLE_AUTO_TOOL_CHOICE", "ENFORCE_EAGER", "TRUST_REMOTE_CODE")
TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


def load_settings(environ: Mapping[str, str], *, hardware: Hardware | None = None) -> Settings:
    """Resolve the configuration.

    Raises:
        ConfigurationError: With every problem found.
    """
    machine = hardware or detect_hardware(environ)
    problems: list[Problem] = []
    values: dict[str, dict[str, Any]] = {}
    for group, field in WorkerSettings.model_fields.items():
        model: Any = field.annotation
        values[group] = {}
        for key, info in model.model_fields.items():
            words: Words = info.json_schema_extra[WORDS]
            for name in (words.env or key.upper(), *words.aliases):
                if environ.get(name, "") not in ("", "None"):
                    values[group][key] = environ[name]
                    break
    try:
        worker = WorkerSettings.model_validate(values)
    except ValidationError as error:
        for item in error.errors():
            where = ".".join(str(part) for part in item["loc"])
            problems.append(Problem(where, item["msg"], got=str(item["input"])))
        raise ConfigurationError(problems) from None
    name = worker.model.name
    served = worker.model.served_name or (
        name.rstrip("/").rsplit("/", 1)[-1] if name.startswith(("/", ".", "~")) else name
    )
    arguments = ["--model", name, "--served-model-name", served]
    environment: dict[str, str] = {"VLLM_LOGGING_LEVEL": worker.logging.engine_level}
    given = {key: environ[key] for key in FIRST_OPTIONS if environ.get(key)}
    given.setdefault("MAX_NUM_SEQS", "256")
    if machine.has_gpu:
        given.setdefault("GPU_MEMORY_UTILIZATION", "0.95")
        given.setdefault("TENSOR_PARALLEL_SIZE", str(machine.gpus))
    else:
        given.setdefault("KV_CACHE_MEMORY_BYTES", str(GIB))
    for option, text in given.items():
        arguments += [f"--{option.lower().replace('_', '-')}", text]
    for flag in FIRST_FLAGS:
        default = "true" if flag == "ENFORCE_EAGER" and not machine.has_gpu else "false"
        if (environ.get(flag) or default).lower() in TRUE:
            arguments.append(f"--{flag.lower().replace('_', '-')}")
    secrets: set[str] = set()
    if worker.model.hf_token is not None:
        environment["HF_TOKEN"] = worker.model.hf_token.get_secret_value()
        secrets.add(environment["HF_TOKEN"])
    return Settings(
        model=worker.model.model_copy(update={"served_name": served}),
        serving=worker.serving,
        streaming=worker.streaming,
        logging=worker.logging,
        storage=worker.storage,
        arguments=tuple(arguments),
        environment=environment,
        secrets=frozenset(secrets),
    )
