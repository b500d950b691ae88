"""What the sources in YAML share: keys in lower case, every one of which must be known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.errors import Problem
from worker.settings.option import Option
from worker.settings.registry import SOURCES
from worker.settings.sources.renamed import LEGACY_NAMES
from worker.settings.sources.source import WrittenSource
from worker.suggest import HINT, suggest

PAGE = "configuration.md"
A_FILE = "the path of a YAML file"
SOURCES_ANCHOR = f"{PAGE}#how-values-are-found"


class YamlSource(WrittenSource):
    """Settings by their key."""

    def known_names(self, written: Mapping[str, Any]) -> dict[str, str]:
        """Return the written key of each variable; report keys that are not settings."""
        known: dict[str, str] = {}
        for name in written:
            key = str(name).lower().replace("-", "_")
            option = self.inputs.registry.by_file_key.get(key)
            if option is None and key.upper() in LEGACY_NAMES:
                known[key.upper()] = name
            elif option is not None and (problem := self._refusal(option, name)) is None:
                is_variable = key.upper() in (option.name, *option.aliases)
                known[key.upper() if is_variable else option.name] = name
            else:
                self.inputs.diagnostics.problems.append(
                    problem if option is not None and problem is not None else self._unknown(name)
                )
        return known

    def _refusal(self, option: Option, name: str) -> Problem | None:
        """Return why a known setting may not stand in a file."""
        if option.reserved is not None:
            return Problem(self.location(name), f"cannot be set: {option.reserved}")
        if option.path[0] == SOURCES:
            message = "can only be set as an environment variable"
            return Problem(self.location(name), message, expected=option.name, anchor=option.anchor)
        return None

    def _unknown(self, name: str) -> Problem:
        near = suggest(str(name), self.inputs.registry.by_file_key, HINT)
        return Problem(self.location(name), "unknown setting", suggestions=near, anchor=PAGE)
