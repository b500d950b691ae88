"""From an environment to `Settings`, or to every problem at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.errors import ConfigurationError, Problem
from worker.machine import MachineInfo, detect_machine
from worker.models.cached import cache_roots
from worker.profile import PROFILES
from worker.redaction import Redactor
from worker.settings.arguments import build_arguments
from worker.settings.cluster import network_variables
from worker.settings.engine_environment import base_path, engine_environment
from worker.settings.model_location import (
    offline_variables,
    served_names,
    use_baked_model,
    use_cached_model,
)
from worker.settings.named_models import read_model_names
from worker.settings.parallel import check_parallel, warn_alone
from worker.settings.registry import load_registry
from worker.settings.rules import ConfigView, apply_rules
from worker.settings.secrets import redact_problem, secret_values
from worker.settings.settings import Settings, read_sources
from worker.settings.sources import Inputs
from worker.settings.sources.machine_defaults import DEFAULT
from worker.settings.startup import choose_cache
from worker.settings.typos import find_model_elsewhere, find_typos, find_unread
from worker.settings.values import Diagnostics, ResolvedValue, Values, merge_values


def load_settings(
    environ: Mapping[str, str],
    *,
    profile: Mapping[str, Any] | None = None,
    machine: MachineInfo | None = None,
    profiles: Path = PROFILES,
    use_baked: bool = True,
) -> Settings:
    """Resolve the configuration; `Settings.settings_customise_sources` has the precedence.

    Args:
        environ: The process's environment.
        profile: A profile as data, instead of the one that the environment names.
        machine: The machine to choose defaults for; None detects this one and checks its paths.
        profiles: Folder of the built-in profiles.
        use_baked: Whether models in the image and in caches count; baking itself must not see them.

    Raises:
        ConfigurationError: With every problem found.
    """
    is_local = machine is None
    inputs = Inputs(
        environ=environ,
        registry=load_registry(),
        machine=machine or detect_machine(environ),
        profiles=profiles,
        given_profile=profile,
        use_image=use_baked,
    )
    settings = read_sources(inputs)
    given = merge_values(inputs.values[::-1])
    given = read_model_names(given, inputs.registry, inputs.diagnostics, is_local=is_local)
    values = _complete(_use_local_models(given, inputs, is_local=is_local and use_baked), inputs)
    settings = settings.with_values(_first_name(item) for item in values.values())
    _check(settings, values, inputs, is_local=is_local)
    redact = Redactor(secret_values(values.values(), environ))
    if inputs.diagnostics.problems:
        raise ConfigurationError([redact_problem(p, redact) for p in inputs.diagnostics.problems])
    return settings.model_copy(update=_derive(settings, values, inputs, redact))


def _derive(settings: Settings, values: Values, inputs: Inputs, redact: Redactor) -> dict[str, Any]:
    """Return the fields of the settings that follow from the others."""
    environ, base = inputs.environ, base_path(settings.storage)
    offline = offline_variables(values, inputs.registry, inputs.manifest)
    return {
        "values": tuple(values.values()),
        "warnings": tuple(redact_problem(w, redact) for w in inputs.diagnostics.warnings),
        "profile": inputs.profile,
        "machine": inputs.machine,
        "cache": choose_cache(settings.startup, base, inputs.registry.version),
        "arguments": tuple(build_arguments(values.values(), settings.cluster.size)),
        "environment": {
            **engine_environment(settings, environ),
            **network_variables(settings.cluster, environ),
            **{name: value for name, value in offline.items() if name not in environ},
        },
        "redact": redact,
    }


def _use_local_models(given: Values, inputs: Inputs, *, is_local: bool) -> Values:
    """Return the values with what is on this machine in the place of repositories.

    In the order that RunPod advises: the platform's cached model, the image's own, a network volume
    or other cache; what is in none of them comes from the hub. It replaces what any source named,
    so that it is a step after the sources and not one of them.
    """
    base = given.get("BASE_PATH")
    roots = cache_roots(inputs.environ, None if base is None else base.value) if is_local else []
    given = use_cached_model(given, inputs.registry, roots[:1], Diagnostics())
    if inputs.manifest is not None:
        given = use_baked_model(given, inputs.manifest, inputs.registry, inputs.diagnostics)
    return use_cached_model(given, inputs.registry, roots, inputs.diagnostics)


def _complete(given: Values, inputs: Inputs) -> Values:
    """Return all values in the order of the docs: set, computed, or the worker's own defaults."""
    complete: Values = {}
    for option in inputs.registry.settable():
        if option.name in given:
            complete[option.name] = given[option.name]
        elif option.field is not None:
            complete[option.name] = ResolvedValue(option, option.default, DEFAULT, option.name)
    names = served_names(complete)
    return {**complete, names.option.name: names}


def _first_name(item: ResolvedValue) -> ResolvedValue:
    """Return what the worker's own field takes: the first of several names."""
    if item.option.field is None or not isinstance(item.value, list):
        return item
    return ResolvedValue(item.option, item.value[0], item.origin, item.location)


def _check(settings: Settings, values: Values, inputs: Inputs, *, is_local: bool) -> None:
    """Apply the rules that concern more than one value."""
    found = inputs.diagnostics
    view = ConfigView(values, inputs.registry, inputs.machine, inputs.environ, is_local)
    patterns = settings.sources.allowed_variables
    found.problems += find_typos(inputs.environ, inputs.registry, patterns)
    found.warnings += find_unread(inputs.environ, inputs.registry, patterns)
    if inputs.find("MODEL_NAME") is None:
        found.problems += find_model_elsewhere(inputs.environ, patterns)
    found.problems += apply_rules(view)
    found.problems += check_parallel(view, settings.cluster, inputs.profile, inputs.profiles)
    found.warnings += warn_alone(view, settings.cluster)
    found.warnings += _check_streaming(values)


def _check_streaming(values: Values) -> list[Problem]:
    first, largest = values["DEFAULT_MIN_BATCH_SIZE"], values["DEFAULT_BATCH_SIZE"]
    if first.value <= largest.value:
        return []
    message = f"above {largest.option.name}; every piece has {largest.value} tokens"
    return [Problem(first.location, message, got=str(first.value), anchor=first.option.anchor)]
