"""The order of settings in docs and forms."""

from __future__ import annotations

from collections.abc import Iterable

from worker.settings.registry import Option

CATEGORIES = (
    "Model",
    "Memory and context",
    "Throughput",
    "GPUs",
    "HTTP",
    "Several machines",
    "OpenAI API",
    "Tokenizer",
    "Serving",
    "Endpoint",
    "Start-up",
    "Requests",
    "Streaming",
    "LoRA",
    "Images, audio, video",
    "Speculation",
    "Logging",
    "Storage",
    "Configuration",
)


def in_order(options: Iterable[Option]) -> list[Option]:
    """Sort by category, and in a category the common settings first."""
    return sorted(options, key=lambda option: (CATEGORIES.index(option.category), option.advanced))
