"""The configuration that GPUs are chosen for: of a profile, a model or the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from worker.machine import GIB, MachineInfo
from worker.profile import PROFILES
from worker.settings.load import load_settings
from worker.settings.settings import Settings
from worker.sizing.requirement import MemoryRequirement, memory_requirement

MAX_GPUS = 8
"""GPUs of the largest worker."""


@dataclass(frozen=True, slots=True)
class SizingTarget:
    """A configuration and its requirement.

    Attributes:
        settings: The configuration, as it would be on a machine with enough GPUs.
        requirement: What it requires of a GPU; None if the model is not known well enough.
        fixed: Whether `tensor_parallel_size` is set explicitly.
    """

    settings: Settings
    requirement: MemoryRequirement | None
    fixed: bool

    @property
    def label(self) -> str:
        """The model's name."""
        return self.settings.model.name


def load_target(
    environ: Mapping[str, str], name: str | None = None, profiles: Path = PROFILES
) -> SizingTarget:
    """Read the configuration that GPUs are chosen for.

    Args:
        environ: The environment.
        name: A profile, or a model's repository id; None means the environment's.
        profiles: The built-in profiles.

    Raises:
        ConfigurationError: The configuration is invalid; the error has all problems.
    """
    if name is not None:
        environ = {key: value for key, value in environ.items() if key not in _REPLACED}
        environ = {**environ, ("MODEL_NAME" if is_model(name) else "PROFILE"): name}
    machine = MachineInfo(gpus=MAX_GPUS, memory_bytes=GIB)
    settings = load_settings(environ, machine=machine, profiles=profiles)
    requirement = memory_requirement(settings.values, settings.profile, profiles)
    size = settings.values.find("tensor_parallel_size")
    return SizingTarget(settings, requirement, size is not None and not size.is_default)


_REPLACED = ("MODEL_NAME", "PROFILE", "WORKER_PROFILE")
"""Variables that a given name replaces."""


def is_model(name: str) -> bool:
    """Whether a name is a repository id, not a profile."""
    return "/" in name and not Path(name).exists() and not name.endswith((".yaml", ".yml"))
