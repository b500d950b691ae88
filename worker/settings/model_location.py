"""Find the files of models by their names: repository ids, cached copies, the image."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from pydantic_core import PydanticCustomError

from worker.errors import Problem
from worker.models.adapters import read_sources
from worker.models.cached import CachedSnapshot, cache_roots, find_snapshots
from worker.models.image_manifest import ANCHOR as MANIFEST_ANCHOR
from worker.models.image_manifest import ManifestEntry
from worker.models.name import exists, is_repository, read_model_name, served_model_name
from worker.settings.sources import BAKED, Inputs
from worker.settings.values import ResolvedValue, Values
from worker.validation_errors import InvalidValue, invalid_value

CACHED = "cached"
"""Start of the origin of a value that a cached model gave."""

CACHE_ANCHOR = "model-location.md"

OFFLINE = "HF_HUB_OFFLINE"
"""Disables requests of Hugging Face's libraries to the hub."""

HUB_CACHE = "HF_HUB_CACHE"
"""Folder of their downloads: `models--org--name/snapshots/commit`."""

HUB_OPTIONS = ("speculative_config", "lora_modules", "hf_config_path")
"""Options that may name another repository; with one of them, the hub must be reachable."""

REVISIONS = {"model": "revision", "tokenizer": "tokenizer_revision"}
"""Options that name a repository, each with the one that names its revision."""

NAMES = (*REVISIONS, "hf_config_path", "spec_model")
"""All options that name a repository."""


def locate_models(values: Values, inputs: Inputs) -> None:
    """Replace the names of models by repository ids, and these by folders on this machine.

    The order is the one that RunPod recommends: RunPod's cached model, the image, a network volume
    or another cache, then the Hugging Face Hub. It applies to values of all sources, and therefore
    runs after them.
    """
    for key in NAMES:
        _read_name(values, key, inputs)
    base = values.find("base_path")
    roots = []
    if inputs.is_local and inputs.use_local_models:
        roots = cache_roots(inputs.environ, base.value if base else None)
    use_cached_models(values, roots[:1])
    if inputs.manifest is not None:
        for key, entry in (
            ("model", inputs.manifest.model),
            ("tokenizer", inputs.manifest.tokenizer),
        ):
            if entry is not None and (problem := _use_baked(values, key, entry)):
                inputs.diagnostics.warnings.append(problem)
    inputs.diagnostics.warnings += use_cached_models(values, roots)


def _read_name(values: Values, key: str, inputs: Inputs) -> None:
    """Replace a name in another form by the repository id; set its revision, if it has one."""
    written = values.find(key)
    if written is None or (inputs.is_local and exists(written.value)):
        return
    try:
        read = read_model_name(written.value)
        if read.revision is not None:
            _set_revision(values, written, read.name, read.revision)
    except PydanticCustomError as error:
        invalid = InvalidValue(**(error.context or {}))
        values.discard(written)
        problem = written.problem(invalid.message, invalid.expected)
        problem = dataclasses.replace(problem, suggestions=invalid.suggestions)
        inputs.diagnostics.problems.append(problem)
        return
    if read.is_rewritten:
        message = f"read as {read.name}"
        if read.revision is not None:
            message += f" at revision {read.revision!r}"
        inputs.diagnostics.warnings.append(written.problem(message))
        values.add(dataclasses.replace(written, value=read.name))


def _set_revision(values: Values, written: ResolvedValue, name: str, revision: str) -> None:
    """Set the revision that a name has.

    Raises:
        PydanticCustomError: Another revision is set, or the option supports none.
    """
    key = REVISIONS.get(written.option.vllm_name or "")
    if key is None:
        raise invalid_value("contains a revision, which this option does not support", name)
    pinned = values.find(key)
    if pinned is not None and pinned.value != revision:
        wanted = f"{name}, and the revision in {pinned.option.name} only"
        message = f"contains revision {revision!r}, but {pinned.location} has another one"
        raise invalid_value(message, wanted)
    values.set(key, revision, f"from {written.option.name}", written.location)


def use_cached_models(values: Values, roots: Sequence[Path]) -> list[Problem]:
    """Replace the ids of cached repositories by their folders.

    Args:
        values: What is set; it is changed.
        roots: Caches, in order of preference.

    Returns:
        A warning for each copy that is not complete.
    """
    warnings: list[Problem] = []
    for key, pin in REVISIONS.items():
        named, revision = values.find(key), values.find(pin)
        if named is None or not is_repository(str(named.value)):
            continue
        wanted = str(revision.value) if revision else None
        copies = list(find_snapshots(named.value, wanted, roots))
        whole = next((copy for copy in copies if not copy.missing), None)
        if whole is not None:
            origin = f"{CACHED}, for {named.origin}"
            values.add(dataclasses.replace(named, value=str(whole.path), origin=origin))
            if key == "model" and values.find("served_model_name") is None:
                # Clients still use the repository's id.
                origin = f"from {named.option.name}"
                values.set("served_model_name", named.value, origin, named.location)
        elif copies:
            warnings.append(_incomplete(named, copies[0]))
    return warnings


def _incomplete(named: ResolvedValue, copy: CachedSnapshot) -> Problem:
    more = len(copy.missing) - 3
    names = ", ".join(copy.missing[:3]) + (f" and {more} more" if more > 0 else "")
    message = f"the copy in {copy.path} is not complete; missing files are downloaded: {names}"
    return Problem(named.location, message, anchor=CACHE_ANCHOR)


def _use_baked(values: Values, key: str, entry: ManifestEntry) -> Problem | None:
    """Replace a repository and its revision by the image's files; return a reason if not."""
    pin = REVISIONS[key]
    named, revision = values.find(key), values.find(pin)
    if named is not None and named.origin.startswith(CACHED):
        return None
    wanted = revision.value if revision else None
    if not entry.is_meant(named.value if named else entry.repo, wanted):
        message = (
            f"the image has {entry.repo} at {entry.revision or entry.commit}, but the settings "
            "select another model, which is downloaded at every cold start"
        )
        location = named.location if named else values.location(pin)
        return Problem(location, message, anchor=MANIFEST_ANCHOR)
    is_there = entry.path.is_dir()
    origin = BAKED if is_there else f"{BAKED}, hidden"
    values.set(key, str(entry.path) if is_there else entry.repo, origin)
    values.set(pin, entry.commit, origin)
    if is_there:
        return None
    message = (
        f"the image's {entry.repo} is not at {entry.path}, most likely because a mounted volume "
        "hides it; build the image with BASE_PATH=/models"
    )
    return dataclasses.replace(values.problem(key, message), got=None, anchor=MANIFEST_ANCHOR)


def offline_variables(values: Values, inputs: Inputs) -> dict[str, str]:
    """Return the variables that disable requests to the hub, if all files are on the machine."""
    model, tokenizer = values.find("model"), values.find("tokenizer")
    origins = [found.origin for found in (model, tokenizer) if found is not None]
    if not all(origin == BAKED or origin.startswith(CACHED) for origin in origins):
        return {}
    is_baked = origins[0] == BAKED
    # Code that a model brings may be in a further repository, which a cache need not hold.
    if not is_baked and values.get("trust_remote_code"):
        return {}
    if any(values.find(key) for key in HUB_OPTIONS):
        return {}
    allowed = values.get("lora_allowed")
    if allowed is not None and read_sources(allowed).repositories:
        return {}
    if is_baked and inputs.manifest is not None and inputs.manifest.code:
        # Hugging Face's libraries find another repository's code only in their cache.
        return {OFFLINE: "1", HUB_CACHE: str(inputs.manifest.code[0].path.parents[2])}
    return {OFFLINE: "1"}


def set_served_names(values: Values) -> None:
    """Set the public names, which are comma-separated; responses have the first."""
    served = values.find("served_model_name")
    names = [name.strip() for name in str(served.value if served else "").split(",")]
    names = [name for name in names if name]
    if served is not None and names:
        values.add(dataclasses.replace(served, value=names))
        return
    name = served_model_name(values.get("model"))
    location = served.location if served else None
    values.set("served_model_name", [name], "from MODEL_NAME", location)
