"""Converts pydantic's errors to one request error with paths, expected values and hints."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from worker.errors import RequestError, shorten
from worker.request.codes import Code, request_error
from worker.request.compat import HINTS
from worker.request.field import Parameters, Surplus, aliases_of, known_names
from worker.request.json_value import json_type_name, render_path
from worker.suggest import did_you_mean, suggest
from worker.validation_errors import Parts, closest, expected_text, locate, value_at

Model = TypeVar("Model", bound=BaseModel)
MAX_PROBLEMS = 10
"""Problems that one error lists."""

_MEMBER_TYPES: dict[str, frozenset[type]] = {
    "string_type": frozenset({str}),
    "int_type": frozenset({int}),
    "float_type": frozenset({int, float}),
    "dict_type": frozenset({dict}),
}
"""Types that the items of an array or object must have, by the type of pydantic's error."""


@dataclass(frozen=True, slots=True)
class _Fault:
    """One invalid place of an input.

    Attributes:
        parts: The path to the place.
        details: pydantic's errors there, or at an earlier item of the same array or object.
    """

    parts: Parts
    details: Sequence[ErrorDetails]


@dataclass(frozen=True, slots=True)
class ParameterProblem:
    """One problem of an input.

    Attributes:
        param: JSON path.
        code: Error code of the problem.
        message: The problem, with what was expected.
    """

    param: str
    code: Code
    message: str

    def as_json(self) -> dict[str, str]:
        """Return the problem as an item of the error object's `problems`."""
        return {"param": self.param, "code": self.code.value, "message": self.message}


def validate(
    model: type[Model],
    data: Mapping[str, Any],
    prefix: str = "",
    elsewhere: Mapping[str, str] | None = None,
    sent: Mapping[str, str] | None = None,
) -> Model:
    """Return `data` as an instance of `model`.

    Args:
        model: The model to validate with.
        data: Decoded JSON object.
        prefix: JSON path of `data`, with its trailing dot.
        elsewhere: Names that belong to another level, each with that level.
        sent: Paths of parameters that the client sent at another path, each with that path.

    Raises:
        RequestError: The data is invalid; lists the first problems and counts the others.
    """
    surplus = Surplus()
    try:
        return model.model_validate(data, context=surplus)
    except ValidationError as error:
        faults = _find_faults(error, model, data)
        first = [
            _describe(fault, model, data, elsewhere or {})
            for fault in itertools.islice(faults, MAX_PROBLEMS)
        ]
        more = sum(1 for _ in faults) + surplus.count
        raise problems_error([_at(f, prefix, sent or {}) for f in first], more) from None


def _at(problem: ParameterProblem, prefix: str, sent: Mapping[str, str]) -> ParameterProblem:
    """Return a problem with the path at which the client sent the value."""
    param = problem.param
    for path, origin in sent.items():
        if param == path or param.startswith((f"{path}.", f"{path}[")):
            param = origin + param.removeprefix(path)
            break
    return ParameterProblem(prefix + param, problem.code, problem.message)


def problems_error(problems: Sequence[ParameterProblem], more: int = 0) -> RequestError:
    """Return one error for all problems; `param` and `code` are those of the first one.

    Args:
        problems: At least one problem.
        more: Number of further problems.
    """
    first = problems[0]
    shown = problems[:MAX_PROBLEMS]
    message = "; ".join(f"{problem.param}: {problem.message}" for problem in shown)
    more += len(problems) - len(shown)
    if more:
        message += f"; and {more} more"
    if len(problems) == 1:
        return request_error(first.code, message, first.param)
    return request_error(first.code, message, first.param, problems=[f.as_json() for f in shown])


def _find_faults(
    error: ValidationError, model: type[BaseModel], data: Mapping[str, Any]
) -> Iterator[_Fault]:
    """Yield one fault for each place, in the order of the errors.

    The models stop at the first invalid item of an array or object (`fail_fast`) and at the first
    unknown names, which bounds the number of errors. This function finds the other places.
    """
    places: dict[Parts, list[ErrorDetails]] = {}
    within: dict[Parts, int] = {}
    for detail in error.errors(include_url=False):
        parts = locate(detail["loc"], data)
        if parts not in places:
            places[parts] = []
            for length in range(len(parts)):
                within[parts[:length]] = within.get(parts[:length], 0) + 1
        places[parts].append(detail)
    for parts, details in places.items():
        if parts in within:
            # Another type of the union matches the value, and has the errors inside of it.
            continue
        yield _Fault(parts, details)
        is_field = parts[-1] in known_names(_model_at(model, details[0]["loc"]))
        if within.get(parts[:-1]) == 1 and len(details) == 1 and not is_field:
            for other in _same_fault(details[0], parts, value_at(data, parts[:-1])):
                yield _Fault(other, details)


def _describe(
    fault: _Fault, model: type[BaseModel], data: Mapping[str, Any], elsewhere: Mapping[str, str]
) -> ParameterProblem:
    path = render_path(fault.parts)
    first = fault.details[0]
    if first["type"] == "extra_forbidden":
        return _unknown(path, str(fault.parts[-1]), _model_at(model, first["loc"]), elsewhere)
    if first["type"] == "missing":
        return ParameterProblem(path, Code.MISSING_PARAMETER, "required, but missing")
    return _wrong(path, fault.details, value_at(data, fault.parts))


def _same_fault(error: ErrorDetails, parts: Parts, container: Any) -> Iterator[Parts]:
    """Yield the later items of an array or object with the same fault as the one at `parts`."""
    expected = _MEMBER_TYPES.get(error["type"])
    if expected is None:
        return
    items = enumerate(container) if isinstance(container, list) else container.items()
    is_later = False
    for key, item in items:
        if is_later and type(item) not in expected:
            yield (*parts[:-1], key)
        is_later |= key == parts[-1]


def _model_at(model: type[BaseModel], loc: Sequence[int | str]) -> type[BaseModel]:
    """Return the model that rejected the last name of `loc`."""
    for part in loc[:-1]:
        field = model.model_fields.get(str(part))
        for each in (field.annotation, *getattr(field.annotation, "__args__", ())) if field else ():
            if isinstance(each, type) and issubclass(each, Parameters):
                model = each
    return model


def _unknown(
    path: str, name: str, model: type[BaseModel], elsewhere: Mapping[str, str]
) -> ParameterProblem:
    if name in elsewhere:
        return ParameterProblem(path, Code.MISPLACED_PARAMETER, f"belongs {elsewhere[name]}")
    names = [field.alias or key for key, field in model.model_fields.items()]
    names += aliases_of(model)
    near = suggest(name, names)
    if near:
        return ParameterProblem(path, Code.UNKNOWN_PARAMETER, f"unknown name.{did_you_mean(near)}")
    far = suggest(name, elsewhere)
    if far:
        hint = f"unknown name.{did_you_mean(far)} That belongs {elsewhere[far[0]]}"
        return ParameterProblem(path, Code.UNKNOWN_PARAMETER, hint)
    if elsewhere and (compat := suggest(name, HINTS)):
        return ParameterProblem(
            path, Code.UNKNOWN_PARAMETER, f"unknown name.{did_you_mean(compat)}"
        )
    return ParameterProblem(
        path, Code.UNKNOWN_PARAMETER, "unknown name; see docs/requests.md for all names"
    )


def _wrong(path: str, details: Sequence[ErrorDetails], value: Any) -> ParameterProblem:
    """Describe a wrong type or value; the types of a union become alternatives."""
    expected = list(dict.fromkeys(expected_text(detail) for detail in closest(details)))
    got = json_type_name(value)
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        got = f"{shorten(str(value))!r}" if isinstance(value, str) else str(value)
    message = f"expected {' or '.join(expected)}, got {got}"
    if isinstance(value, str) and any("number" in e or "integer" in e for e in expected):
        message += "; send the number without quotes"
    return ParameterProblem(path, Code.INVALID_PARAMETER, message)
