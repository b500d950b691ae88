"""A model into the image: download what vLLM loads, verify it, write down what it is."""

from worker.bake.command import run_bake

__all__ = ["run_bake"]
