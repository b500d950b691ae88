"""Puts the plain names of models in the place of URLs, quoted names and names with revisions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from worker.errors import Problem
from worker.settings.catalogue import Catalogue
from worker.settings.model_name import read_model_name
from worker.settings.paths import exists
from worker.settings.rejection import Rejected
from worker.settings.resolve import Findings, Resolved
from worker.vllm_options.option import Option

PINS = {
    "model": "revision",
    "tokenizer": "tokenizer_revision",
    "hf_config_path": None,
    "spec_model": None,
}
"""Options that name a repository, each with the one that names its revision."""


def read_model_names(
    given: Mapping[str, Resolved], catalogue: Catalogue, findings: Findings, *, is_here: bool
) -> dict[str, Resolved]:
    """Return the values with plain names; a revision that a name brings is set, too.

    Args:
        given: Values, by the option's name.
        catalogue: All options.
        findings: Gets what is read in another form (a warning) or cannot be read (a problem).
        is_here: Whether folders can be looked for on this machine.
    """
    result = dict(given)
    for key, pin_key in PINS.items():
        written = given.get(catalogue.by_engine_key[key].name)
        if written is None or (is_here and exists(written.value)):
            continue
        pin = None if pin_key is None else catalogue.by_engine_key[pin_key]
        try:
            result |= _read(written, pin, given.get(pin.name) if pin else None, findings)
        except Rejected as rejected:
            del result[written.option.name]
            findings.problems.append(
                Problem(
                    written.place,
                    rejected.message,
                    got=str(written.value),
                    expected=rejected.expected,
                    suggestions=rejected.suggestions,
                    anchor=written.option.anchor,
                )
            )
    return result


def _read(
    written: Resolved, pin: Option | None, pinned: Resolved | None, findings: Findings
) -> dict[str, Resolved]:
    """Return what one name sets.

    Raises:
        Rejected: It cannot be read, or its revision contradicts the one that is set.
    """
    read = read_model_name(written.value)
    if not read.is_rewritten:
        return {}
    message = f"read as {read.name}"
    sets = {written.option.name: dataclasses.replace(written, value=read.name)}
    if read.revision is not None:
        if pin is None:
            raise Rejected("names a revision, and has none of its own", read.name)
        if pinned is not None and pinned.value != read.revision:
            wanted = f"{read.name}, and the revision in {pin.name} only"
            raise Rejected(
                f"names revision {read.revision!r}, and {pinned.place} another one", wanted
            )
        message += f" at revision {read.revision!r}"
        sets[pin.name] = Resolved(pin, read.revision, f"from {written.option.name}", written.place)
    anchor = written.option.anchor
    findings.warnings.append(Problem(written.place, message, got=written.value, anchor=anchor))
    return sets
