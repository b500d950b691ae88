"""From an environment to `Settings`, or to every problem at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.config.arguments import build_arguments
from worker.config.baked import offline_variables, place_baked
from worker.config.cached import cache_roots, place_cached
from worker.config.capacity import check_capacity
from worker.config.catalogue import Catalogue, read_catalogue
from worker.config.cluster import count_machines, network_variables, passed_on
from worker.config.defaults import DEFAULT, promise_defaults
from worker.config.files import PROFILES
from worker.config.groups import WorkerSettings
from worker.config.hardware import Hardware, detect_hardware
from worker.config.identity import served_names
from worker.config.names import find_misspelt
from worker.config.option import Option
from worker.config.parallel import check_parallel, warn_alone
from worker.config.resolve import Findings, Resolved, merge_layers
from worker.config.rules import View, apply_rules
from worker.config.secrets import base_path, engine_environment, redact_problem, secret_values
from worker.config.settings import Settings
from worker.config.sources import Sources, collect_sources
from worker.config.startup import choose_cache
from worker.errors import ConfigurationError, Problem
from worker.redaction import Redactor


def load_settings(
    environ: Mapping[str, str],
    *,
    profile: Mapping[str, Any] | None = None,
    hardware: Hardware | None = None,
    profiles: Path = PROFILES,
    use_baked: bool = True,
) -> Settings:
    """Resolve the configuration: default < baked < profile < file < environment.

    Args:
        environ: The process's environment.
        profile: A profile as data, instead of the one that the environment names.
        hardware: What to choose defaults for; None looks at this machine, and at the paths on it.
        profiles: Folder of the built-in profiles.
        use_baked: Whether models in the image and in caches count; baking itself must not see them.

    Raises:
        ConfigurationError: With every problem found.
    """
    catalogue = read_catalogue()
    machine = hardware or detect_hardware(environ)
    findings = Findings()
    sources = collect_sources(environ, profile, profiles, catalogue, findings, use_baked=use_baked)
    given = merge_layers(sources.layers, catalogue, findings)
    if sources.chosen is not None:
        given[sources.chosen.option.name] = sources.chosen
    is_here = hardware is None and use_baked
    given = _place(given, environ, sources, catalogue, findings, is_here=is_here)
    allowed = given.get("WORKER_ALLOWED_VARIABLES")
    patterns = allowed.value if allowed else None
    findings.problems += find_misspelt(environ, catalogue, patterns)
    values = _complete(given, promise_defaults(given, catalogue, machine, environ), catalogue)
    view = View(values, catalogue, machine, environ, is_here=hardware is None)
    findings.problems += apply_rules(view)
    findings.problems += check_parallel(view, sources.profile, profiles)
    findings.warnings += warn_alone(view)
    findings.warnings += _check_streaming(values)
    redact = Redactor(secret_values(values.values(), environ))
    if findings.problems:
        raise ConfigurationError([redact_problem(p, redact) for p in findings.problems])
    findings.warnings += check_capacity(view, sources.profile, profiles)
    warnings = [redact_problem(warning, redact) for warning in findings.warnings]
    settings = _build(
        values, environ, offline_variables(values, catalogue, sources.baked), redact, warnings
    )
    return dataclasses.replace(settings, profile=sources.profile)


def _place(
    given: dict[str, Resolved],
    environ: Mapping[str, str],
    sources: Sources,
    catalogue: Catalogue,
    findings: Findings,
    *,
    is_here: bool,
) -> dict[str, Resolved]:
    """Put what is on this machine in the place of repositories, in the order that RunPod advises.

    That is: the platform's cached model, the image's own, a network volume or other cache; what is
    in none of them comes from the hub.
    """
    base = given.get("BASE_PATH")
    roots = cache_roots(environ, Path(base.value) if base is not None else None) if is_here else []
    given = place_cached(given, catalogue, roots[:1], Findings())
    if sources.baked is not None:
        given = place_baked(given, sources.baked, catalogue, findings)
    return place_cached(given, catalogue, roots, findings)


def _complete(
    given: Mapping[str, Resolved], promised: Mapping[str, Resolved], catalogue: Catalogue
) -> dict[str, Resolved]:
    """Return all values in the catalogue's order: set, promised, or the worker's own defaults."""
    complete: dict[str, Resolved] = {}
    for option in catalogue.settable():
        resolved = given.get(option.name) or promised.get(option.name)
        if resolved is None and option.field is not None:
            resolved = Resolved(option, option.default, DEFAULT, option.name)
        if resolved is not None:
            complete[option.name] = resolved
    names = served_names(complete)
    if names is not None:
        complete[names.option.name] = names
    return complete


def _check_streaming(values: Mapping[str, Resolved]) -> list[Problem]:
    first, largest = values["DEFAULT_MIN_BATCH_SIZE"], values["DEFAULT_BATCH_SIZE"]
    if first.value <= largest.value:
        return []
    message = f"above {largest.option.name}, so that every piece has {largest.value} tokens"
    return [Problem(first.place, message, got=str(first.value), anchor=first.option.anchor)]


def _build(
    values: Mapping[str, Resolved],
    environ: Mapping[str, str],
    offline: Mapping[str, str],
    redact: Redactor,
    warnings: list[Problem],
) -> Settings:
    groups: dict[str, dict[str, Any]] = {}
    for resolved in values.values():
        if resolved.option.field is not None:
            group, name = resolved.option.field
            groups.setdefault(group, {})[name] = _field_value(resolved.option, resolved.value)
    worker = WorkerSettings.model_validate(groups)
    return Settings(
        model=worker.model,
        serving=worker.serving,
        requests=worker.requests,
        endpoint=worker.endpoint,
        cluster=worker.cluster,
        startup=worker.startup,
        streaming=worker.streaming,
        logging=worker.logging,
        storage=worker.storage,
        sources=worker.sources,
        arguments=tuple(build_arguments(passed_on(values.values(), count_machines(values)))),
        environment={
            **engine_environment(worker, environ),
            **network_variables(worker.cluster, environ),
            **{name: value for name, value in offline.items() if name not in environ},
        },
        redact=redact,
        values=tuple(values.values()),
        cache=choose_cache(worker.startup, base_path(worker.storage), read_catalogue().version),
        warnings=tuple(warnings),
    )


def _field_value(option: Option, value: Any) -> Any:
    """Return what the model's field takes: the first of several names."""
    return value[0] if isinstance(value, list) else value
