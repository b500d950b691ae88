"""Settings: one definition of each, resolved from defaults, profile, file and environment."""

from worker.settings.load import load_settings
from worker.settings.settings import Settings

__all__ = ["Settings", "load_settings"]
