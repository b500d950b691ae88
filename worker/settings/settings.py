"""The resolved configuration: what every other part of the worker reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from worker.errors import Problem
from worker.machine import MachineInfo
from worker.profile import Profile
from worker.redaction import Redactor
from worker.settings.cluster import ClusterSettings
from worker.settings.groups import (
    EndpointSettings,
    LoggingSettings,
    ModelSettings,
    RequestSettings,
    ServingSettings,
    SourceSettings,
    StorageSettings,
    StreamingSettings,
)
from worker.settings.resolve import Resolved
from worker.settings.startup import StartupSettings


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings with their final values.

    Attributes:
        model: Which model is served; `served_name` is final here and never a path.
        serving: Jobs at once and time limits.
        requests: What a request gets and may do where it says nothing.
        endpoint: Where requests come from.
        cluster: How several machines serve one model.
        startup: How fast a start is.
        streaming: Pieces of a streamed answer.
        logging: Log levels.
        storage: Where models are kept.
        sources: Which profile and file were read.
        arguments: Engine arguments, as vLLM's own parser takes them.
        environment: Variables that the engine's process needs beside the worker's own.
        redact: Hides secrets in any text that leaves the process.
        values: Every value with its origin, in the order of the docs.
        cache: Folder that keeps compiled code between starts; None where nothing lasts.
        warnings: What is not wrong and still worth a line in the log.
        profile: The profile that was read, named or chosen; None without one.
        machine: What defaults were chosen for.
    """

    model: ModelSettings
    serving: ServingSettings
    requests: RequestSettings
    endpoint: EndpointSettings
    cluster: ClusterSettings
    startup: StartupSettings
    streaming: StreamingSettings
    logging: LoggingSettings
    storage: StorageSettings
    sources: SourceSettings
    arguments: tuple[str, ...]
    # Hold secrets in the clear: `repr` must not show them.
    environment: Mapping[str, str] = field(repr=False)
    redact: Redactor = field(repr=False, compare=False)
    values: tuple[Resolved, ...] = field(repr=False)
    cache: Path | None
    warnings: tuple[Problem, ...]
    profile: Profile | None = field(default=None, repr=False)
    machine: MachineInfo = field(default=MachineInfo(0, 0), repr=False)

    def engine_arguments(self) -> list[str]:
        """Return argv for vLLM's `make_arg_parser`: what somebody set and the promised defaults."""
        return list(self.arguments)

    def engine_environment(self) -> dict[str, str]:
        """Return the variables to add to the engine process's environment, secrets included."""
        return dict(self.environment)

    def profile_text(self) -> str:
        """Return which profile was read and why, for the log; empty without one."""
        if self.profile is None:
            return ""
        origin = next(item.source for item in self.values if item.option.name == "PROFILE")
        chosen = (
            "" if origin == "environment" else f", {origin}; AUTO_PROFILE=false switches it off"
        )
        return f"profile {self.profile.name}{chosen}"
