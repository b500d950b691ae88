"""Puts the plain names of models in the place of URLs, quoted names and names with revisions."""

from __future__ import annotations

import dataclasses

from pydantic_core import PydanticCustomError

from worker.errors import Problem
from worker.settings.model_name import read_model_name
from worker.settings.option import Option
from worker.settings.paths import exists
from worker.settings.registry import OptionRegistry
from worker.settings.values import Diagnostics, ResolvedValue, Values
from worker.validation_errors import InvalidValue, invalid_value

PINS = {
    "model": "revision",
    "tokenizer": "tokenizer_revision",
    "hf_config_path": None,
    "spec_model": None,
}
"""Options that name a repository, each with the one that names its revision."""


def read_model_names(
    given: Values, registry: OptionRegistry, diagnostics: Diagnostics, *, is_local: bool
) -> Values:
    """Return the values with plain names; a revision that a name brings is set, too.

    Args:
        given: Values, by the option's name.
        registry: All options.
        diagnostics: Gets what is read in another form (a warning) or cannot be read (a problem).
        is_local: Whether folders can be looked for on this machine.
    """
    result = dict(given)
    for key, pin_key in PINS.items():
        written = given.get(registry.by_vllm_name[key].name)
        if written is None or (is_local and exists(written.value)):
            continue
        pin = None if pin_key is None else registry.by_vllm_name[pin_key]
        try:
            result |= _read(written, pin, given.get(pin.name) if pin else None, diagnostics)
        except PydanticCustomError as error:
            rejected = InvalidValue(**(error.context or {}))
            del result[written.option.name]
            diagnostics.problems.append(
                Problem(
                    written.location,
                    rejected.message,
                    got=str(written.value),
                    expected=rejected.expected,
                    suggestions=rejected.suggestions,
                    anchor=written.option.anchor,
                )
            )
    return result


def _read(
    written: ResolvedValue,
    pin: Option | None,
    pinned: ResolvedValue | None,
    diagnostics: Diagnostics,
) -> Values:
    """Return what one name sets.

    Raises:
        PydanticCustomError: It cannot be read, or its revision contradicts the one that is set.
    """
    read = read_model_name(written.value)
    if not read.is_rewritten:
        return {}
    message = f"read as {read.name}"
    sets = {written.option.name: dataclasses.replace(written, value=read.name)}
    if read.revision is not None:
        if pin is None:
            raise invalid_value("names a revision, and has none of its own", read.name)
        if pinned is not None and pinned.value != read.revision:
            wanted = f"{read.name}, and the revision in {pin.name} only"
            raise invalid_value(
                f"names revision {read.revision!r}, and {pinned.location} another one", wanted
            )
        message += f" at revision {read.revision!r}"
        sets[pin.name] = ResolvedValue(
            pin, read.revision, f"from {written.option.name}", written.location
        )
    anchor = written.option.anchor
    diagnostics.warnings.append(
        Problem(written.location, message, got=written.value, anchor=anchor)
    )
    return sets
