"""Resolve an environment to `Settings`, or report all problems."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.errors import ConfigurationError
from worker.machine import MachineInfo, detect_machine
from worker.profile import PROFILES
from worker.redaction import Redactor
from worker.settings.engine_environment import (
    choose_cache,
    engine_environment,
    network_variables,
)
from worker.settings.machine_defaults import DEFAULT
from worker.settings.model_location import locate_models, offline_variables, set_served_names
from worker.settings.parallel import warn_alone, warn_stored_responses
from worker.settings.registry import load_registry
from worker.settings.rules import apply_rules
from worker.settings.secrets import find_unreplaced, redact_problem, secret_values
from worker.settings.settings import Settings, read_sources
from worker.settings.sources import Inputs
from worker.settings.typos import find_model_elsewhere, find_unknown
from worker.settings.values import Values


def load_settings(
    environ: Mapping[str, str],
    *,
    profile: Mapping[str, Any] | None = None,
    machine: MachineInfo | None = None,
    profiles: Path = PROFILES,
    use_local_models: bool = True,
) -> Settings:
    """Resolve the configuration; `Settings.settings_customise_sources` has the precedence.

    Args:
        environ: The process's environment.
        profile: A profile as data, instead of the one that the environment names.
        machine: The machine to choose defaults for; None detects this one and checks its paths.
        profiles: Folder of the built-in profiles.
        use_local_models: Whether models in the image and in caches count; baking must not see them.

    Raises:
        ConfigurationError: With every problem found.
    """
    inputs = Inputs(
        environ=environ,
        registry=load_registry(),
        machine=machine or detect_machine(environ),
        is_local=machine is None,
        profiles=profiles,
        given_profile=profile,
        use_local_models=use_local_models,
    )
    settings = read_sources(inputs)
    given = Values()
    for values in reversed(inputs.values):
        given.merge(values)
    locate_models(given, inputs)
    values = _complete(given, inputs)
    settings = settings.with_values(values)
    _check(settings, inputs)
    redact = Redactor(secret_values(values, environ))
    problems = inputs.diagnostics.problems
    if problems:
        raise ConfigurationError([redact_problem(problem, redact) for problem in problems])
    return settings.model_copy(update=_derive(settings, inputs, redact))


def _complete(given: Values, inputs: Inputs) -> Values:
    """Return all values in the order of the docs: set, computed, or the worker's own defaults."""
    complete = Values()
    for option in inputs.registry.settable():
        if found := given.find(option.key):
            complete.add(found)
        elif option.field is not None:
            complete.set(option.key, option.default, DEFAULT)
    set_served_names(complete)
    return complete


def _check(settings: Settings, inputs: Inputs) -> None:
    """Apply the rules that concern more than one value."""
    found, values, environ = inputs.diagnostics, settings.values, inputs.environ
    allowed = settings.sources.allowed_variables
    for problem in find_unknown(environ, inputs.registry, allowed):
        (found.problems if problem.suggestions else found.warnings).append(problem)
    if inputs.find("model_name") is None:
        found.problems += find_model_elsewhere(environ, allowed)
    if inputs.is_local:
        found.problems += find_unreplaced(environ)
    found.problems += apply_rules(values, inputs)
    found.warnings += warn_alone(values)
    found.warnings += warn_stored_responses(values, inputs)
    first, largest = settings.streaming.min_batch_size, settings.streaming.max_batch_size
    if first > largest:
        message = f"above DEFAULT_BATCH_SIZE; every chunk has {largest} tokens"
        found.warnings.append(values.problem("default_min_batch_size", message))


def _derive(settings: Settings, inputs: Inputs, redact: Redactor) -> dict[str, Any]:
    """Return the fields of the settings that follow from the others."""
    environ, values = inputs.environ, settings.values
    offline = offline_variables(values, inputs)
    return {
        "warnings": tuple(redact_problem(w, redact) for w in inputs.diagnostics.warnings),
        "profile": inputs.profile,
        "machine": inputs.machine,
        "cache": choose_cache(settings, inputs.registry.version),
        "environment": {
            **engine_environment(settings, environ),
            **network_variables(settings.cluster, environ),
            **{name: value for name, value in offline.items() if name not in environ},
        },
        "redact": redact,
    }
