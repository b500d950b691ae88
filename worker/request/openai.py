"""Checks and completes OpenAI-style bodies: rejects what vLLM would ignore silently."""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from worker.errors import RequestError
from worker.request.best_of import find_conflict, request_best_of
from worker.request.codes import Code, request_error
from worker.request.compat import COMPAT_PARAMETERS, CONTAINERS, HINTS
from worker.request.defaults import RequestDefaults
from worker.request.engine_request import BestOf
from worker.request.job_input import NativeInput
from worker.request.json_value import json_type_name, same_value
from worker.request.parameters import SentParameters, find_typos, flatten, translate
from worker.request.removed import NOTHING, REMOVED, RENAMED, UNREACHABLE, drop_removed
from worker.request.routes import CHAT, COMPLETIONS
from worker.request.upload import FILENAME, FORM_ROUTES
from worker.suggest import did_you_mean

CAPTURED_FILE = "captured.json"
"""Routes and names of request fields, captured from the pinned vLLM; inside this package."""

OBJECTS = frozenset({"structured_outputs", "response_format", "stream_options"})
"""Fields that vLLM reads before it checks their type."""

_SIBLINGS = {CHAT: COMPLETIONS, COMPLETIONS: CHAT}
"""Routes that generate text; parameters of the other one are rejected by name."""

_OWN: dict[str, frozenset[str]] = {
    **dict.fromkeys(_SIBLINGS, frozenset({"best_of"})),
    **dict.fromkeys(FORM_ROUTES, frozenset({FILENAME})),
}
"""Names that the worker itself takes, by route."""


@dataclass(frozen=True, slots=True)
class RouteFields:
    """Names that a route's body may have.

    Attributes:
        known: Fields of vLLM's request model that have an effect on the route; empty if it takes no
            body.
        official: Further fields of the official API, which vLLM accepts and ignores.
    """

    known: frozenset[str]
    official: frozenset[str]


@functools.cache
def known_fields() -> dict[str, RouteFields]:
    """Return the captured field names by route."""
    text = importlib.resources.files(__package__).joinpath(CAPTURED_FILE).read_bytes()
    return {
        path: RouteFields(
            frozenset(names["known"]) - RENAMED.get(path, {}).keys(), frozenset(names["official"])
        )
        for path, names in orjson.loads(text)["routes"].items()
    }


class Completed(NamedTuple):
    """A body that is ready for vLLM.

    Attributes:
        body: What to send.
        best_of: Which sequences to keep; None keeps all.
        ignored: Names that the client sent and that have no effect.
    """

    body: dict[str, Any]
    best_of: BestOf | None
    ignored: tuple[str, ...] = ()


def complete_body(route: str, body: Mapping[str, Any], defaults: RequestDefaults) -> Completed:
    """Check and complete the body of an OpenAI-style request.

    Args:
        route: Path of the route.
        body: The client's body; not modified.
        defaults: Completes the model's name.

    Raises:
        RequestError: Misspelt, removed and contradictory names, and values that vLLM would change.
    """
    fields = known_fields().get(route)
    if fields is None or not fields.known:
        return Completed(dict(body), None)
    parameters = flatten(body, _containers_of(route))
    if route in _SIBLINGS:
        parameters.values = drop_removed(parameters.values, {**REMOVED, **UNREACHABLE})
    ignored = _replace_unknown(route, parameters, fields)
    complete = parameters.values
    _check_stream(route, complete, fields)
    if "model" in fields.known and not complete.get("model"):
        complete["model"] = defaults.model
    _check_objects(complete, fields)
    if route == CHAT and complete.get("messages") is not None:
        complete["messages"] = _read_messages(complete["messages"])
    if route in _SIBLINGS and complete.get("stream") and complete.get("use_beam_search"):
        raise request_error(
            Code.CONFLICTING_PARAMETERS,
            "use_beam_search: beam search cannot be streamed; send stream: false",
            "use_beam_search",
        )
    best_of = _pop_best_of(route, complete) if route in _SIBLINGS else None
    return Completed(complete, best_of, ignored)


def _containers_of(route: str) -> frozenset[str]:
    """Return the names of container objects, whose parameters count as those of the body."""
    fields = known_fields().get(route)
    containers = frozenset(CONTAINERS) if route in _SIBLINGS else frozenset({"extra_body"})
    return containers - fields.known if fields is not None else containers


def requests_stream(route: str, body: Mapping[str, Any]) -> bool:
    """Return whether a body requests a stream, also if the body is invalid.

    Args:
        route: Path of the route, which may be unknown.
        body: The client's body.
    """
    containers = _containers_of(route)
    waiting = [body]
    while waiting:
        values = waiting.pop()
        if values.get("stream") is True:
            return True
        waiting += [v for name, v in values.items() if name in containers and isinstance(v, dict)]
    return False


def _check_stream(route: str, body: Mapping[str, Any], fields: RouteFields) -> None:
    """Reject values of `stream` that vLLM would convert."""
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise request_error(
            Code.INVALID_PARAMETER,
            f"stream: expected true or false, got {json_type_name(stream)}",
            "stream",
        )
    if stream and "stream" not in fields.known:
        raise request_error(
            Code.UNSUPPORTED_PARAMETER, f"stream: {route} does not stream; remove it", "stream"
        )


def _replace_unknown(
    route: str, parameters: SentParameters, fields: RouteFields
) -> tuple[str, ...]:
    """Translate parameters of other servers; return the names that have no effect.

    Those stay in the body, where vLLM ignores them.

    Raises:
        RequestError: Misspelt names, names of another route, and contradictions.
    """
    own = _OWN.get(route, frozenset())
    unknown = [
        name
        for name, value in parameters.values.items()
        # A form's list fields have brackets in vLLM's name; see upload.py.
        if value is not None
        and name not in fields.known
        and name not in own
        and f"{name}[]" not in fields.known
    ]
    left: list[str] = []
    ignored: list[str] = []
    for name in unknown:
        value = parameters.values[name]
        error = _refuse_other_route(route, name, value)
        compat = COMPAT_PARAMETERS.get(name)
        found = compat and translate(compat, value, fields.known, parameters.values)
        if found:
            del parameters.values[name]
            for target, translated in found.items():
                parameters.add(target, translated, "", name)
        elif error is not None:
            raise error
        elif found is None and compat is not None:
            ignored.append(name)
        elif compat is None and name not in fields.official and not _asks_nothing(name, value):
            left.append(name)
    _refuse_typos(route, left)
    return (*ignored, *left)


def check_form(route: str, names: Iterable[str]) -> tuple[str, ...]:
    """Check the names of a multipart form's fields; return those that have no effect.

    Args:
        route: Path of a route that takes a form.
        names: Names of the fields, in order; vLLM checks their values.

    Raises:
        RequestError: A name is misspelt, or vLLM has another name for it.
    """
    known = known_fields()[route].known
    unknown = [name for name in dict.fromkeys(names) if name not in known]
    ignored: list[str] = []
    for name in unknown:
        compat = COMPAT_PARAMETERS.get(name)
        if compat is not None and compat.target in known:
            raise _unknown_name(name, (str(compat.target),))
        if compat is None or compat.effect:
            ignored.append(name)
    _refuse_typos(route, [name for name in ignored if name not in COMPAT_PARAMETERS])
    return tuple(ignored)


def _refuse_typos(route: str, names: Sequence[str]) -> None:
    for name, meant in find_typos(names, _suggested(route)).items():
        raise _unknown_name(name, meant)


def _unknown_name(name: str, meant: tuple[str, ...]) -> RequestError:
    return request_error(
        Code.UNKNOWN_PARAMETER,
        f"{name}: unknown name, which vLLM would ignore.{did_you_mean(meant)}",
        name,
    )


@functools.cache
def _suggested(route: str) -> tuple[str, ...]:
    """Return the names of a route of which an unknown one may be a misspelling."""
    hints = HINTS if route in _SIBLINGS else frozenset({"extra_body"})
    return tuple(sorted(known_fields()[route].known | hints))


def _refuse_other_route(route: str, name: str, value: Any) -> RequestError | None:
    """Return the error for a name that means something on another route only, if it asks for it."""
    renamed = RENAMED.get(route, {}).get(name)
    sibling = _SIBLINGS.get(route)
    if renamed is not None:
        message = f"vLLM would ignore it on {route}; send {renamed}"
    elif sibling is not None and name in known_fields()[sibling].known:
        message = f"works only on {sibling}; vLLM would ignore it on {route}"
    else:
        return None
    if _asks_nothing(name, value):
        return None
    return request_error(Code.UNSUPPORTED_PARAMETER, f"{name}: {message}", name)


def _asks_nothing(name: str, value: Any) -> bool:
    """Return whether a value is empty or the default."""
    field = NativeInput.model_fields.get(name)
    default = [] if field is None or field.is_required() else [field.default]
    return any(same_value(value, each) for each in (*NOTHING, {}, *default))


def _check_objects(body: Mapping[str, Any], fields: RouteFields) -> None:
    """Reject other types in fields where vLLM assumes an object."""
    for name in OBJECTS & fields.known & body.keys():
        if body[name] is not None and not isinstance(body[name], dict):
            raise request_error(
                Code.INVALID_PARAMETER,
                f"{name}: expected an object, got {json_type_name(body[name])}",
                name,
            )


def _read_messages(messages: object) -> object:
    """Return a text as one user message; reject other types, on which vLLM fails."""
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    if not isinstance(messages, list):
        raise request_error(
            Code.INVALID_PARAMETER,
            f"messages: expected an array of messages or one text, got {json_type_name(messages)}",
            "messages",
        )
    return messages


def _pop_best_of(route: str, body: dict[str, Any]) -> BestOf | None:
    """Replace `best_of`, which vLLM removed, by more sequences, of which the best are kept."""
    best_of = body.pop("best_of", None)
    if best_of is None:
        return None
    keep = 1 if body.get("n") is None else body["n"]
    if type(best_of) is not int or type(keep) is not int or not 1 <= keep <= best_of:
        got = best_of if type(best_of) is int else json_type_name(best_of)
        raise request_error(
            Code.INVALID_PARAMETER,
            f"best_of: expected an integer of at least n (1 if it is not sent), got {got}",
            "best_of",
        )
    if best_of == keep:
        return None
    conflict = find_conflict(
        keep=keep,
        best_of=best_of,
        stream=bool(body.get("stream")),
        temperature=body.get("temperature"),
        beam=bool(body.get("use_beam_search")),
    )
    if conflict is not None:
        raise _conflict(conflict)
    if body.get("echo") and route == COMPLETIONS and not isinstance(body.get("prompt"), str):
        raise _conflict("works with echo only for a single text as prompt")
    return request_best_of(body, keep=keep, best_of=best_of, chat=route == CHAT)


def _conflict(message: str) -> RequestError:
    return request_error(Code.CONFLICTING_PARAMETERS, f"best_of: {message}", "best_of")
