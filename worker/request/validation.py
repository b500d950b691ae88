"""Turns pydantic's findings into one request error: paths, expectations and hints in our words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from worker.errors import RequestError, shorten
from worker.request.codes import Code, fail
from worker.request.field import Parameters
from worker.request.json_value import kind_of
from worker.suggest import did_you_mean, suggest

Model = TypeVar("Model", bound=BaseModel)

MOST_PROBLEMS = 10
"""Problems that one error lists; the first ones are enough to find the rest."""

_TYPES: dict[str, str] = {
    "string_type": "a string",
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "finite_number": "a finite number",
}
_BOUNDS: dict[str, tuple[str, str]] = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}
_LENGTHS: dict[str, tuple[str, str]] = {
    "string_too_short": ("min_length", "at least {} characters"),
    "string_too_long": ("max_length", "at most {} characters"),
    "too_short": ("min_length", "at least {} items"),
    "too_long": ("max_length", "at most {} items"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem of an input.

    Attributes:
        param: JSON path.
        code: Which kind of problem.
        message: The problem, with what was expected.
    """

    param: str
    code: Code
    message: str

    def as_json(self) -> dict[str, str]:
        """Return the problem as a member of the error object's `problems`."""
        return {"param": self.param, "code": self.code.value, "message": self.message}


def validate(
    model: type[Model],
    data: Mapping[str, Any],
    prefix: str = "",
    elsewhere: Mapping[str, str] | None = None,
) -> Model:
    """Return `data` as an instance of `model`.

    Args:
        model: What the data must be.
        data: Decoded JSON object.
        prefix: JSON path of `data`, with its trailing dot.
        elsewhere: Names that are known at another level, each with the place where it belongs.

    Raises:
        RequestError: With all problems at once.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        findings = _findings(error, model, data, elsewhere or {})
        raise report([Finding(prefix + f.param, f.code, f.message) for f in findings]) from None


def report(findings: Sequence[Finding]) -> RequestError:
    """Return one error for all findings; `param` and `code` are the first one's."""
    first = findings[0]
    shown = findings[:MOST_PROBLEMS]
    message = "; ".join(f"{finding.param}: {finding.message}" for finding in shown)
    if len(findings) > len(shown):
        message += f"; and {len(findings) - len(shown)} more"
    if len(findings) == 1:
        return fail(first.code, message, first.param)
    return fail(first.code, message, first.param, problems=[f.as_json() for f in shown])


def _findings(
    error: ValidationError,
    model: type[BaseModel],
    data: Mapping[str, Any],
    elsewhere: Mapping[str, str],
) -> list[Finding]:
    """Return one finding for each place, in the order of the errors."""
    places: dict[str, list[tuple[ErrorDetails, Any]]] = {}
    for detail in error.errors(include_url=False):
        path, value = _locate(detail["loc"], data)
        places.setdefault(path, []).append((detail, value))
    findings = []
    for path, details in places.items():
        if any(other.startswith((f"{path}.", f"{path}[")) for other in places):
            # Another member of the union fits the value itself and says what is wrong inside.
            continue
        first, value = details[0]
        if first["type"] == "extra_forbidden":
            findings.append(_unknown(path, _model_at(model, first["loc"]), elsewhere))
        elif first["type"] == "missing":
            findings.append(Finding(path, Code.MISSING_PARAMETER, "required, but absent"))
        else:
            findings.append(_wrong(path, [each for each, _ in details], value))
    return findings


def _locate(loc: Sequence[int | str], data: Any) -> tuple[str, Any]:
    """Return JSON path and value of an error's place, without pydantic's names of union members."""
    path, value = "", data
    for part in loc:
        if isinstance(part, int):
            if isinstance(value, list) and part < len(value):
                path, value = f"{path}[{part}]", value[part]
        elif isinstance(value, dict) and part in value:
            path, value = f"{path}.{part}" if path else part, value[part]
        elif value is data or (part.isidentifier() and isinstance(value, dict)):
            path, value = f"{path}.{part}" if path else part, None
    return path, value


def _model_at(model: type[BaseModel], loc: Sequence[int | str]) -> type[BaseModel]:
    """Return the model that refused the last name of `loc`."""
    for part in loc[:-1]:
        field = model.model_fields.get(str(part))
        for each in (field.annotation, *getattr(field.annotation, "__args__", ())) if field else ():
            if isinstance(each, type) and issubclass(each, Parameters):
                model = each
    return model


def _unknown(path: str, model: type[BaseModel], elsewhere: Mapping[str, str]) -> Finding:
    name = path.rpartition(".")[2]
    if name in elsewhere:
        return Finding(path, Code.MISPLACED_PARAMETER, f"belongs {elsewhere[name]}")
    names = [field.alias or key for key, field in model.model_fields.items()]
    near = suggest(name, names)
    if near:
        return Finding(path, Code.UNKNOWN_PARAMETER, f"unknown name.{did_you_mean(near)}")
    far = suggest(name, elsewhere)
    if far:
        hint = f"unknown name.{did_you_mean(far)} That belongs {elsewhere[far[0]]}"
        return Finding(path, Code.UNKNOWN_PARAMETER, hint)
    return Finding(path, Code.UNKNOWN_PARAMETER, "unknown name; see docs/requests.md for all names")


def _wrong(path: str, details: Sequence[ErrorDetails], value: Any) -> Finding:
    """Describe a wrong type or value; the members of a union become alternatives."""
    # Where one member of a union has the right type, the others' types are beside the point.
    closest = [detail for detail in details if detail["type"] not in _TYPES] or details
    expected = list(dict.fromkeys(_expected(detail) for detail in closest))
    got = kind_of(value)
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        got = f"{shorten(str(value))!r}" if isinstance(value, str) else str(value)
    message = f"expected {' or '.join(expected)}, got {got}"
    if isinstance(value, str) and any("number" in e or "integer" in e for e in expected):
        message += "; send the number without quotes"
    return Finding(path, Code.INVALID_PARAMETER, message)


def _expected(detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _TYPES:
        return _TYPES[kind]
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"{words} {context[key]}"
    if kind in _LENGTHS:
        key, words = _LENGTHS[kind]
        count = context[key]
        text = words.format(count)
        return text[:-1] if count == 1 else text
    if kind == "literal_error":
        return str(context["expected"])
    return str(detail["msg"])
