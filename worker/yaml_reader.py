"""Reads YAML: configuration files, profiles, and the worker's own tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

# The C loader is the same safe loader, ten times as fast; some builds of PyYAML lack it.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_yaml(text: str | bytes) -> Any:
    """Return the value of a YAML document.

    Raises:
        yaml.YAMLError: It is not valid YAML.
    """
    return yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe loader


def read_table(module: str) -> Any:
    """Return the table next to a module: the file of its name that ends in `.yaml`.

    Args:
        module: The module's `__file__`.
    """
    return parse_yaml(Path(module).with_suffix(".yaml").read_bytes())
