"""Replaces a model's repository with its copy on this machine: in a cache or in the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from worker.errors import Problem
from worker.models.cached import CachedSnapshot, find_snapshots
from worker.models.image_manifest import ANCHOR as MANIFEST_ANCHOR
from worker.models.image_manifest import ImageManifest, ManifestEntry
from worker.models.name import is_repository, served_model_name
from worker.settings.catalogue import Catalogue
from worker.settings.resolve import Findings, Layer, Resolved

CACHED = "cached"
BAKED = "baked"
"""Names of the two origins in the provenance."""

CACHE_ANCHOR = "models.md#where-models-are-found"

OFFLINE = "HF_HUB_OFFLINE"
"""Makes Hugging Face's libraries send no request to the hub."""

HUB_CACHE = "HF_HUB_CACHE"
"""Where they keep what they have fetched: `models--org--name/snapshots/commit`."""

HUB_OPTIONS = ("speculative_config", "lora_modules", "hf_config_path")
"""Options that may name another repository; with one of them a start stays online."""


def use_cached_model(
    given: Mapping[str, Resolved],
    catalogue: Catalogue,
    roots: Sequence[Path],
    findings: Findings,
) -> dict[str, Resolved]:
    """Put the folder of a cached model in the place of its repository's id.

    Args:
        given: Values, by the option's name.
        catalogue: All options.
        roots: Caches, in order of preference.
        findings: Gets a warning for a copy that is not complete.
    """
    result = dict(given)
    for key, pin in (("model", "revision"), ("tokenizer", "tokenizer_revision")):
        named = given.get(catalogue.by_engine_key[key].name)
        if named is None or not is_repository(str(named.value)):
            continue
        revision = given.get(catalogue.by_engine_key[pin].name)
        wanted = None if revision is None else str(revision.value)
        copies = list(find_snapshots(named.value, wanted, roots))
        whole = next((copy for copy in copies if not copy.missing), None)
        if whole is not None:
            source = f"{CACHED}, for {named.source}"
            result[named.option.name] = Resolved(named.option, str(whole.path), source, named.place)
            if key == "model":
                _keep_name(result, named, catalogue)
        elif copies:
            findings.warnings.append(_incomplete(named, copies[0]))
    return result


def _keep_name(values: dict[str, Resolved], model: Resolved, catalogue: Catalogue) -> None:
    """Let clients go on using the repository's id, unless somebody chose another name."""
    served = catalogue.by_engine_key["served_model_name"]
    if served.name not in values:
        origin = f"from {model.option.name}"
        values[served.name] = Resolved(served, model.value, origin, model.place)


def _incomplete(named: Resolved, copy: CachedSnapshot) -> Problem:
    names = ", ".join(copy.missing[:3])
    more = len(copy.missing) - 3
    message = (
        f"the copy in {copy.path} is not complete, so that what is missing is downloaded: {names}"
        + (f" and {more} more" if more > 0 else "")
    )
    return Problem(named.place, message, anchor=CACHE_ANCHOR)


def baked_layer(baked: ImageManifest) -> Layer:
    """Return the layer of plain settings that were given when the image was built."""
    return Layer(BAKED, {name.lower(): value for name, value in baked.settings.items()})


def use_baked_model(
    given: Mapping[str, Resolved], baked: ImageManifest, catalogue: Catalogue, findings: Findings
) -> dict[str, Resolved]:
    """Return the settings with the image's own files in the place of what they name.

    Args:
        given: What somebody set, by the option's name.
        baked: What the image holds.
        catalogue: All options.
        findings: Gets a warning for each baked repository that cannot be used.
    """
    result = dict(given)
    sources = [("model", "revision", baked.model)]
    if baked.tokenizer is not None:
        sources.append(("tokenizer", "tokenizer_revision", baked.tokenizer))
    for key, revision_key, source in sources:
        problem = _place(result, source, key, revision_key, catalogue)
        if problem is not None:
            findings.warnings.append(problem)
    return result


def _place(
    values: dict[str, Resolved],
    source: ManifestEntry,
    key: str,
    revision_key: str,
    catalogue: Catalogue,
) -> Problem | None:
    """Replace one repository and its revision; return why not, if not."""
    option, pin = catalogue.by_engine_key[key], catalogue.by_engine_key[revision_key]
    named, revision = values.get(option.name), values.get(pin.name)
    if named is not None and named.source.startswith(CACHED):
        return None
    wanted = revision.value if revision is not None else None
    if not source.is_meant(named.value if named is not None else source.repo, wanted):
        message = (
            f"the image holds {source.repo} at {source.revision or source.commit}, which these "
            "settings do not use; what they name is downloaded at every cold start"
        )
        place = named.place if named is not None else pin.name
        return Problem(place, message, anchor=MANIFEST_ANCHOR)
    if not source.path.is_dir():
        message = (
            f"the image's {source.repo} is hidden: {source.path} is not there, most likely under "
            "a mounted volume; build the image with BASE_PATH=/models"
        )
        hidden = f"{BAKED}, hidden"
        values[option.name] = Resolved(option, source.repo, hidden, option.name)
        values[pin.name] = Resolved(pin, source.commit, hidden, pin.name)
        return Problem(option.name, message, anchor=MANIFEST_ANCHOR)
    values[option.name] = Resolved(option, str(source.path), BAKED, option.name)
    values[pin.name] = Resolved(pin, source.commit, BAKED, pin.name)
    return None


def offline_variables(
    values: Mapping[str, Resolved], catalogue: Catalogue, baked: ImageManifest | None
) -> dict[str, str]:
    """Return the variables that keep the engine off the hub, if all it needs is on the machine.

    Args:
        values: All values.
        catalogue: All options.
        baked: What the image holds.
    """
    model = values[catalogue.by_engine_key["model"].name]
    tokenizer = values.get(catalogue.by_engine_key["tokenizer"].name)
    if not _is_local(model) or (tokenizer is not None and not _is_local(tokenizer)):
        return {}
    # Code that a model brings may lie in a further repository, which a cache need not hold.
    code = values.get(catalogue.by_engine_key["trust_remote_code"].name)
    if model.source != BAKED and code is not None and code.value:
        return {}
    if any(catalogue.by_engine_key[key].name in values for key in HUB_OPTIONS):
        return {}
    if model.source == BAKED and baked is not None and baked.code:
        # The one place where Hugging Face's libraries look for another repository's code.
        return {OFFLINE: "1", HUB_CACHE: str(baked.code[0].path.parents[2])}
    return {OFFLINE: "1"}


def _is_local(value: Resolved) -> bool:
    return value.source == BAKED or value.source.startswith(CACHED)


def served_names(values: Mapping[str, Resolved]) -> Resolved | None:
    """Return the public names, the one that answers carry first; several are comma-separated."""
    model = next(v for v in values.values() if v.option.engine_key == "model")
    served = next(v for v in values.values() if v.option.engine_key == "served_model_name")
    names = [name.strip() for name in str(served.value or "").split(",") if name.strip()]
    if names:
        return Resolved(served.option, names, served.source, served.place)
    name = served_model_name(model.value)
    return Resolved(served.option, [name], f"from {model.option.name}", served.place)
