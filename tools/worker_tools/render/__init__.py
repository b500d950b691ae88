"""Render the generated files: docs, console forms and JSON Schemas."""

from worker_tools.render.command import run_render

__all__ = ["run_render"]
