"""What is to be placed: a profile, a model, or the configuration in the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from worker.machine import GIB, MachineInfo
from worker.profile import PROFILES
from worker.settings.load import load_settings
from worker.settings.rules import view_settings
from worker.settings.settings import Settings
from worker.settings.values import ResolvedValue
from worker.sizing.requirement import MemoryRequirement, memory_requirement

MOST_GPUS = 8
"""GPUs of the largest worker; a plan may use any part of them."""


@dataclass(frozen=True, slots=True)
class SizingTarget:
    """A configuration and what it asks of a GPU.

    Attributes:
        settings: The configuration, as it would be on a machine with enough GPUs.
        requirement: What it asks; None when too little is known of the model.
        fixed: Whether somebody chose how many GPUs share a layer.
    """

    settings: Settings
    requirement: MemoryRequirement | None
    fixed: bool

    @property
    def label(self) -> str:
        """The model, as a reader of the answer knows it."""
        return self.settings.model.name


def load_target(
    environ: Mapping[str, str], name: str | None = None, profiles: Path = PROFILES
) -> SizingTarget:
    """Read the configuration that is to be placed.

    Args:
        environ: The environment.
        name: A profile, or a model's repository id; None for what the environment says.
        profiles: The built-in profiles.

    Raises:
        ConfigurationError: With every problem found.
    """
    if name is not None:
        environ = {key: value for key, value in environ.items() if key not in _REPLACED}
        environ = {**environ, ("MODEL_NAME" if is_model(name) else "PROFILE"): name}
    machine = MachineInfo(gpus=MOST_GPUS, memory_bytes=GIB)
    settings = load_settings(environ, machine=machine, profiles=profiles)
    view = view_settings(settings)
    requirement = memory_requirement(view, settings.profile, profiles)
    return SizingTarget(settings, requirement, _is_fixed(view.explicit("tensor_parallel_size")))


_REPLACED = ("MODEL_NAME", "PROFILE", "WORKER_PROFILE")
"""What the environment says of these does not count when a name is given."""


def is_model(name: str) -> bool:
    """Whether a name means a repository and no profile."""
    return "/" in name and not Path(name).exists() and not name.endswith((".yaml", ".yml"))


def _is_fixed(size: ResolvedValue | None) -> bool:
    return size is not None and not size.is_default
