"""The environment: variables by their names, among many that are not settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.errors import Problem
from worker.settings.sources.renamed import is_set
from worker.settings.sources.source import WrittenSource
from worker.settings.values import Values
from worker.vllm_options.overrides import COMMON

ENVIRONMENT = "environment"
NOT_SETTABLE = "engine-options.md#not-settable"


class EnvironmentSource(WrittenSource):
    """The process's environment."""

    origin = ENVIRONMENT
    from_form = True

    def location(self, name: str) -> str:
        """Return the variable."""
        return name

    def read(self) -> Values:
        """Return the values of the variables that are settings."""
        return self.validate(self.inputs.environ)

    def known_names(self, written: Mapping[str, Any]) -> dict[str, str]:
        """Return all variables; warn of options of vLLM that the worker does not pass on.

        Unknown names are normal here (see `typos`), and so are common names such as `PORT`.
        """
        registry = self.inputs.registry
        for option in registry.options:
            name = option.name
            if option.reserved is None or name in COMMON or name in registry.by_variable:
                continue
            if is_set(written.get(name), None):
                message = f"has no effect: {option.reserved}"
                problem = Problem(name, message, anchor=NOT_SETTABLE)
                self.inputs.diagnostics.warnings.append(problem)
        return {name: name for name in written}
