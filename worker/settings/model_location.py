"""Replaces a model's repository with its copy on this machine: in a cache or in the image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from worker.errors import Problem
from worker.models.cached import CachedSnapshot, find_snapshots
from worker.models.image_manifest import ANCHOR as MANIFEST_ANCHOR
from worker.models.image_manifest import ImageManifest, ManifestEntry
from worker.models.name import is_repository, served_model_name
from worker.settings.registry import OptionRegistry
from worker.settings.sources.image_manifest import BAKED
from worker.settings.values import Diagnostics, ResolvedValue, Values

CACHED = "cached"
"""Origin of a value in the provenance."""

CACHE_ANCHOR = "models.md#where-models-are-found"

OFFLINE = "HF_HUB_OFFLINE"
"""Makes Hugging Face's libraries send no request to the hub."""

HUB_CACHE = "HF_HUB_CACHE"
"""Where they keep what they have fetched: `models--org--name/snapshots/commit`."""

HUB_OPTIONS = ("speculative_config", "lora_modules", "hf_config_path")
"""Options that may name another repository; with one of them a start stays online."""


def use_cached_model(
    given: Values,
    registry: OptionRegistry,
    roots: Sequence[Path],
    diagnostics: Diagnostics,
) -> Values:
    """Put the folder of a cached model in the place of its repository's id.

    Args:
        given: Values, by the option's name.
        registry: All options.
        roots: Caches, in order of preference.
        diagnostics: Gets a warning for a copy that is not complete.
    """
    result = dict(given)
    for key, pin in (("model", "revision"), ("tokenizer", "tokenizer_revision")):
        named = given.get(registry.by_vllm_name[key].name)
        if named is None or not is_repository(str(named.value)):
            continue
        revision = given.get(registry.by_vllm_name[pin].name)
        wanted = None if revision is None else str(revision.value)
        copies = list(find_snapshots(named.value, wanted, roots))
        whole = next((copy for copy in copies if not copy.missing), None)
        if whole is not None:
            source = f"{CACHED}, for {named.origin}"
            result[named.option.name] = ResolvedValue(
                named.option, str(whole.path), source, named.location
            )
            if key == "model":
                _keep_name(result, named, registry)
        elif copies:
            diagnostics.warnings.append(_incomplete(named, copies[0]))
    return result


def _keep_name(values: Values, model: ResolvedValue, registry: OptionRegistry) -> None:
    """Let clients go on using the repository's id, unless somebody chose another name."""
    served = registry.by_vllm_name["served_model_name"]
    if served.name not in values:
        origin = f"from {model.option.name}"
        values[served.name] = ResolvedValue(served, model.value, origin, model.location)


def _incomplete(named: ResolvedValue, copy: CachedSnapshot) -> Problem:
    names = ", ".join(copy.missing[:3])
    more = len(copy.missing) - 3
    message = f"the copy in {copy.path} is not complete; missing files are downloaded: {names}" + (
        f" and {more} more" if more > 0 else ""
    )
    return Problem(named.location, message, anchor=CACHE_ANCHOR)


def use_baked_model(
    given: Values, baked: ImageManifest, registry: OptionRegistry, diagnostics: Diagnostics
) -> Values:
    """Return the settings with the image's own files in the place of what they name.

    Args:
        given: What somebody set, by the option's name.
        baked: What the image holds.
        registry: All options.
        diagnostics: Gets a warning for each baked repository that cannot be used.
    """
    result = dict(given)
    sources = [("model", "revision", baked.model)]
    if baked.tokenizer is not None:
        sources.append(("tokenizer", "tokenizer_revision", baked.tokenizer))
    for key, revision_key, source in sources:
        problem = _place(result, source, key, revision_key, registry)
        if problem is not None:
            diagnostics.warnings.append(problem)
    return result


def _place(
    values: Values,
    source: ManifestEntry,
    key: str,
    revision_key: str,
    registry: OptionRegistry,
) -> Problem | None:
    """Replace one repository and its revision; return why not, if not."""
    option, pin = registry.by_vllm_name[key], registry.by_vllm_name[revision_key]
    named, revision = values.get(option.name), values.get(pin.name)
    if named is not None and named.origin.startswith(CACHED):
        return None
    wanted = revision.value if revision is not None else None
    if not source.is_meant(named.value if named is not None else source.repo, wanted):
        message = (
            f"the image holds {source.repo} at {source.revision or source.commit}, which these "
            "settings do not use; what they name is downloaded at every cold start"
        )
        place = named.location if named is not None else pin.name
        return Problem(place, message, anchor=MANIFEST_ANCHOR)
    if not source.path.is_dir():
        message = (
            f"the image's {source.repo} is hidden: {source.path} is not there, most likely under "
            "a mounted volume; build the image with BASE_PATH=/models"
        )
        hidden = f"{BAKED}, hidden"
        values[option.name] = ResolvedValue(option, source.repo, hidden, option.name)
        values[pin.name] = ResolvedValue(pin, source.commit, hidden, pin.name)
        return Problem(option.name, message, anchor=MANIFEST_ANCHOR)
    values[option.name] = ResolvedValue(option, str(source.path), BAKED, option.name)
    values[pin.name] = ResolvedValue(pin, source.commit, BAKED, pin.name)
    return None


def offline_variables(
    values: Values, registry: OptionRegistry, baked: ImageManifest | None
) -> dict[str, str]:
    """Return the variables that keep the engine off the hub, if all it needs is on the machine.

    Args:
        values: All values.
        registry: All options.
        baked: What the image holds.
    """
    model = values[registry.by_vllm_name["model"].name]
    tokenizer = values.get(registry.by_vllm_name["tokenizer"].name)
    if not _is_local(model) or (tokenizer is not None and not _is_local(tokenizer)):
        return {}
    # Code that a model brings may lie in a further repository, which a cache need not hold.
    code = values.get(registry.by_vllm_name["trust_remote_code"].name)
    if model.origin != BAKED and code is not None and code.value:
        return {}
    if any(registry.by_vllm_name[key].name in values for key in HUB_OPTIONS):
        return {}
    if model.origin == BAKED and baked is not None and baked.code:
        # The one place where Hugging Face's libraries look for another repository's code.
        return {OFFLINE: "1", HUB_CACHE: str(baked.code[0].path.parents[2])}
    return {OFFLINE: "1"}


def _is_local(value: ResolvedValue) -> bool:
    return value.origin == BAKED or value.origin.startswith(CACHED)


def served_names(values: Values) -> ResolvedValue:
    """Return the public names, the one that answers carry first; several are comma-separated."""
    model = next(v for v in values.values() if v.option.engine_key == "model")
    served = next(v for v in values.values() if v.option.engine_key == "served_model_name")
    names = [name.strip() for name in str(served.value or "").split(",") if name.strip()]
    if names:
        return ResolvedValue(served.option, names, served.origin, served.location)
    name = served_model_name(model.value)
    return ResolvedValue(served.option, [name], f"from {model.option.name}", served.location)
