"""Settings: one definition of each, resolved from defaults, profile, file and environment."""

from worker.config.load import load_settings
from worker.config.settings import Settings

__all__ = ["Settings", "load_settings"]
