"""From an environment to `Settings`, or to every problem at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from worker.errors import ConfigurationError, Problem
from worker.machine import MachineInfo, detect_machine
from worker.models.cached import cache_roots
from worker.profile import PROFILES
from worker.redaction import Redactor
from worker.settings.arguments import build_arguments
from worker.settings.catalogue import Catalogue, read_catalogue
from worker.settings.cluster import count_machines, network_variables, passed_on
from worker.settings.defaults import DEFAULT, promise_defaults
from worker.settings.groups import WorkerSettings
from worker.settings.model_location import (
    offline_variables,
    served_names,
    use_baked_model,
    use_cached_model,
)
from worker.settings.named_models import read_model_names
from worker.settings.names import find_misspelt, find_model_elsewhere, find_unread
from worker.settings.parallel import check_parallel, warn_alone
from worker.settings.resolve import Findings, Resolved, merge_layers
from worker.settings.rules import View, apply_rules
from worker.settings.secrets import base_path, engine_environment, redact_problem, secret_values
from worker.settings.settings import Settings
from worker.settings.sources import Sources, collect_sources
from worker.settings.startup import choose_cache
from worker.vllm_options.option import Option


def load_settings(
    environ: Mapping[str, str],
    *,
    profile: Mapping[str, Any] | None = None,
    machine: MachineInfo | None = None,
    profiles: Path = PROFILES,
    use_baked: bool = True,
) -> Settings:
    """Resolve the configuration: default < baked < profile < file < environment.

    Args:
        environ: The process's environment.
        profile: A profile as data, instead of the one that the environment names.
        machine: The machine to choose defaults for; None detects this one and checks its paths.
        profiles: Folder of the built-in profiles.
        use_baked: Whether models in the image and in caches count; baking itself must not see them.

    Raises:
        ConfigurationError: With every problem found.
    """
    catalogue = read_catalogue()
    is_local = machine is None
    machine = machine or detect_machine(environ)
    findings = Findings()
    sources = collect_sources(environ, profile, profiles, catalogue, findings, use_baked=use_baked)
    given = merge_layers(sources.layers, catalogue, findings)
    if sources.chosen is not None:
        given[sources.chosen.option.name] = sources.chosen
    is_here = is_local and use_baked
    given = read_model_names(given, catalogue, findings, is_here=is_local)
    given = _place(given, environ, sources, catalogue, findings, is_here=is_here)
    _check_variables(environ, given, catalogue, findings)
    values = _complete(given, promise_defaults(given, catalogue, machine, environ), catalogue)
    view = View(values, catalogue, machine, environ, is_here=is_local)
    findings.problems += apply_rules(view)
    findings.problems += check_parallel(view, sources.profile, profiles)
    findings.warnings += warn_alone(view)
    findings.warnings += _check_streaming(values)
    redact = Redactor(secret_values(values.values(), environ))
    if findings.problems:
        raise ConfigurationError([redact_problem(p, redact) for p in findings.problems])
    warnings = [redact_problem(warning, redact) for warning in findings.warnings]
    settings = _build(
        values, environ, offline_variables(values, catalogue, sources.baked), redact, warnings
    )
    return dataclasses.replace(settings, profile=sources.profile, machine=machine)


def _check_variables(
    environ: Mapping[str, str],
    given: Mapping[str, Resolved],
    catalogue: Catalogue,
    findings: Findings,
) -> None:
    """Find variables that nobody reads and that somebody meant for this worker or for vLLM."""
    allowed = given.get("WORKER_ALLOWED_VARIABLES")
    patterns = allowed.value if allowed else None
    findings.problems += find_misspelt(environ, catalogue, patterns)
    findings.warnings += find_unread(environ, catalogue, patterns)
    if catalogue.by_engine_key["model"].name not in given:
        findings.problems += find_model_elsewhere(environ, patterns)


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
    given = use_cached_model(given, catalogue, roots[:1], Findings())
    if sources.baked is not None:
        given = use_baked_model(given, sources.baked, catalogue, findings)
    return use_cached_model(given, catalogue, roots, findings)


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
    worker = _validate(groups, values)
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


def _validate(groups: dict[str, Any], values: Mapping[str, Resolved]) -> WorkerSettings:
    """Return the worker's own settings; what only pydantic finds is a problem like any other."""
    try:
        return WorkerSettings.model_validate(groups)
    except ValidationError as error:
        places = {item.option.field: item for item in values.values() if item.option.field}
        problems = []
        # Without its input, which may be a secret.
        for found in error.errors(include_url=False, include_input=False, include_context=False):
            item = places[found["loc"][0], found["loc"][1]]  # type: ignore[index]
            message = found["msg"][:1].lower() + found["msg"][1:]
            problems.append(Problem(item.place, message, anchor=item.option.anchor))
        raise ConfigurationError(problems) from None


def _field_value(option: Option, value: Any) -> Any:
    """Return what the model's field takes: the first of several names."""
    return value[0] if isinstance(value, list) else value
