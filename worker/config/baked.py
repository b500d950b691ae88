"""The model inside the image: what `worker bake` wrote down and a start finds again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from worker.config.cached import CACHED
from worker.config.catalogue import Catalogue
from worker.config.resolve import Findings, Layer, Resolved
from worker.errors import Problem

BAKED = "baked"
"""Name of the layer in the provenance."""

ANCHOR = "configuration.md#baked_file"

OFFLINE = "HF_HUB_OFFLINE"
"""Tells Hugging Face's libraries to ask the hub nothing."""

HUB_CACHE = "HF_HUB_CACHE"
"""Where they keep what they have fetched: `models--org--name/snapshots/commit`."""

HUB_OPTIONS = ("speculative_config", "lora_modules", "hf_config_path")
"""Options that may name something else on the hub; with one of them a start stays online."""


class BakedSource(BaseModel):
    """One repository, as it lies in the image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repo: str = Field(description="Repository id, as it was asked for.", min_length=1)
    revision: str | None = Field(None, description="Branch, tag or commit that was asked for.")
    commit: str = Field(description="Commit that the files are of.", min_length=1)
    path: Path = Field(description="Folder with the files.")
    files: int = Field(description="Files that were verified, count.", ge=1)
    size_bytes: int = Field(description="Their sizes together, bytes.", ge=0)

    def is_meant(self, name: str, revision: str | None) -> bool:
        """Tell whether a setting that names a repository means this one."""
        if name.casefold() not in (self.repo.casefold(), str(self.path).casefold()):
            return False
        return revision is None or revision in (self.revision or "main", self.commit)


class Baked(BaseModel):
    """The manifest: a JSON file beside the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = Field(1, description="Version of this format.")
    model: BakedSource = Field(description="The model.")
    tokenizer: BakedSource | None = Field(None, description="The tokenizer, if it is another repo.")
    code: tuple[BakedSource, ...] = Field(
        (), description="Further repositories with code that the model's configuration names."
    )
    profile: str | None = Field(None, description="Profile that the image starts from.")
    settings: Mapping[str, str] = Field({}, description="Further settings by their variable.")


def read_baked(path: Path) -> Baked | Problem | None:
    """Return what the image holds, None where nothing was baked.

    Args:
        path: The manifest.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        return Problem("BAKED_FILE", f"cannot be read: {error.strerror}", str(path), anchor=ANCHOR)
    try:
        return Baked.model_validate_json(text)
    except pydantic.ValidationError:
        return Problem(
            "BAKED_FILE",
            "not a manifest of this worker",
            str(path),
            "the file that `worker bake` writes; build the image again",
            anchor=ANCHOR,
        )


def baked_layer(baked: Baked) -> Layer:
    """Return the layer of plain settings that were given when the image was built."""
    return Layer(BAKED, {name.lower(): value for name, value in baked.settings.items()})


def place_baked(
    given: Mapping[str, Resolved], baked: Baked, catalogue: Catalogue, findings: Findings
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
    source: BakedSource,
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
        return Problem(place, message, anchor=ANCHOR)
    if not source.path.is_dir():
        message = (
            f"the image's {source.repo} is hidden: {source.path} is not there, most likely under "
            "a mounted volume; build the image with BASE_PATH=/models"
        )
        hidden = f"{BAKED}, hidden"
        values[option.name] = Resolved(option, source.repo, hidden, option.name)
        values[pin.name] = Resolved(pin, source.commit, hidden, pin.name)
        return Problem(option.name, message, anchor=ANCHOR)
    values[option.name] = Resolved(option, str(source.path), BAKED, option.name)
    values[pin.name] = Resolved(pin, source.commit, BAKED, pin.name)
    return None


def offline_variables(
    values: Mapping[str, Resolved], catalogue: Catalogue, baked: Baked | None
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
