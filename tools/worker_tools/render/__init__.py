"""Every generated file: what it holds and how it is kept in step with the settings."""

from worker_tools.render.command import run_render

__all__ = ["run_render"]
