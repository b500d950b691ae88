"""The sources of settings, one module each."""

from worker.settings.sources.config_file import ConfigFileSource
from worker.settings.sources.environment import EnvironmentSource
from worker.settings.sources.image_manifest import ImageManifestSource
from worker.settings.sources.machine_defaults import MachineDefaultsSource
from worker.settings.sources.profile import ProfileSource
from worker.settings.sources.source import Inputs

__all__ = [
    "ConfigFileSource",
    "EnvironmentSource",
    "ImageManifestSource",
    "Inputs",
    "MachineDefaultsSource",
    "ProfileSource",
]
