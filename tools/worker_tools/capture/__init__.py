"""Capture vLLM's options and request models as data, for `worker capture`."""

from worker_tools.capture.command import run_capture

__all__ = ["run_capture"]
