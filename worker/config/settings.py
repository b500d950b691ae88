"""The resolved configuration: what every other part of the worker reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from worker.config.groups import (
    LoggingSettings,
    ModelSettings,
    ServingSettings,
    StorageSettings,
    StreamingSettings,
)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings with their final values.

    Attributes:
        model: Which model is served; `served_name` is final here and never a path.
        serving: Jobs at once and time limits.
        streaming: Pieces of a streamed answer.
        logging: Log levels.
        storage: Where models are kept.
        arguments: Engine arguments, as vLLM's own parser takes them.
        environment: Variables that the engine's process needs beside the worker's own.
        secrets: Values that must not leave the process in any text.
    """

    model: ModelSettings
    serving: ServingSettings
    streaming: StreamingSettings
    logging: LoggingSettings
    storage: StorageSettings
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    secrets: frozenset[str]

    def engine_arguments(self) -> list[str]:
        """Return argv for vLLM's `make_arg_parser`: what somebody set and the promised defaults."""
        return list(self.arguments)

    def engine_environment(self) -> dict[str, str]:
        """Return the variables to add to the engine process's environment, secrets included."""
        return dict(self.environment)

    def secret_values(self) -> frozenset[str]:
        """Return every secret's value, to be redacted from any text that leaves the process."""
        return self.secrets
