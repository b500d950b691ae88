"""The resolved settings, which all other parts of the worker read."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, create_model
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from worker.errors import Problem
from worker.machine import MachineInfo
from worker.profile import Profile
from worker.redaction import Redactor
from worker.settings.arguments import build_arguments
from worker.settings.groups import WorkerSettings
from worker.settings.machine_defaults import MachineDefaultsSource
from worker.settings.registry import VLLM, load_registry
from worker.settings.sources import EnvironmentSource, Inputs
from worker.settings.types import SettingsModel
from worker.settings.values import Values
from worker.settings.vllm_types import value_type
from worker.settings.yaml_sources import ConfigFileSource, ImageManifestSource, ProfileSource


class VllmOptions(SettingsModel):
    """The options of `vllm serve`; the fields come from its captured schema."""


class Settings(WorkerSettings):
    """All settings: the worker's groups, vLLM's options, and what follows from them."""

    model_config = SettingsConfigDict(arbitrary_types_allowed=True, use_attribute_docstrings=True)

    vllm: VllmOptions = VllmOptions()
    values: Values = Field(Values(), repr=False)
    """Every value with its origin, in the order of the docs."""
    warnings: tuple[Problem, ...] = ()
    """What does not prevent a start and should be in the log."""
    profile: Profile | None = Field(None, repr=False)
    """The profile that was read, named or chosen."""
    machine: MachineInfo = MachineInfo(0, 0)
    """The machine that defaults were chosen for."""
    cache: Path | None = None
    """Folder that keeps compiled code between starts; None where nothing lasts."""
    environment: Mapping[str, str] = Field({}, repr=False)
    """Variables of the engine's process, added to the worker's own; secrets included."""
    redact: Redactor = Field(Redactor(), repr=False)
    """Hides secrets in any text that leaves the process."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, highest precedence first; declared defaults come after all."""
        assert isinstance(init_settings, InitSettingsSource)  # noqa: S101
        inputs = init_settings.init_kwargs["inputs"]
        return (
            EnvironmentSource(settings_cls, inputs),
            ConfigFileSource(settings_cls, inputs),
            ProfileSource(settings_cls, inputs),
            ImageManifestSource(settings_cls, inputs),
            MachineDefaultsSource(settings_cls, inputs),
        )

    def engine_arguments(self) -> list[str]:
        """Return argv for vLLM's `make_arg_parser`: what was set, and computed defaults."""
        return build_arguments(self.values, self.cluster.size)

    def engine_environment(self) -> dict[str, str]:
        """Return the variables to add to the engine process's environment, secrets included."""
        return dict(self.environment)

    def profile_text(self) -> str:
        """Return the chosen profile and the reason, for the log; empty without one."""
        if self.profile is None:
            return ""
        found = self.values.find("profile")
        origin = found.origin if found else ""
        automatic = f", {origin}; AUTO_PROFILE=false turns it off"
        return f"profile {self.profile.name}" + ("" if origin == "environment" else automatic)

    def with_values(self, values: Values) -> Settings:
        """Return settings with other values."""
        groups = {
            group: getattr(self, group).model_copy(update=fields)
            for group, fields in values.state().items()
        }
        return self.model_copy(update={**groups, "values": values})


def read_sources(inputs: Inputs) -> Settings:
    """Return the settings that the sources give; `inputs` gets their origins and problems."""
    kwargs: dict[str, Any] = {"inputs": inputs}
    return settings_class()(**kwargs)


@functools.cache
def settings_class() -> type[Settings]:
    """Return the settings with a field for each of vLLM's options, built once per process."""
    fields: dict[str, Any] = {
        option.key: (value_type(option), option.engine_default)
        for option in load_registry().settable()
        if option.path[0] == VLLM
    }
    options = create_model("VllmOptions", __base__=VllmOptions, **fields)
    return create_model("Settings", __base__=Settings, vllm=(options, options()))
