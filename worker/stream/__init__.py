"""Streaming: split vLLM's output into whole events and batch them into posts."""
