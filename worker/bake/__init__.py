"""Puts a model into the image: downloads the files that vLLM loads, verifies and records them."""

from worker.bake.command import run_bake

__all__ = ["run_bake"]
