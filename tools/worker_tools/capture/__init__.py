"""The capture of vLLM's options: what `worker capture` writes, and how it is compared."""

from worker_tools.capture.command import run_capture

__all__ = ["run_capture"]
