"""OpenAI-style bodies: passed on as they are, except what vLLM would ignore without a word."""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from worker.errors import RequestError
from worker.request.call import Selection
from worker.request.codes import Code, fail
from worker.request.defaults import RequestDefaults
from worker.request.field import MOST_UNKNOWN
from worker.request.json_value import kind_of
from worker.request.removed import REMOVED, RENAMED, UNREACHABLE, drop_removed
from worker.request.routes import CHAT, COMPLETIONS
from worker.request.selection import ask_best_of, find_conflict
from worker.suggest import did_you_mean, suggest

CAPTURED_FILE = "captured.json"
"""Routes and names of request fields, captured from the pinned vLLM; inside this package."""

OBJECTS = frozenset({"structured_outputs", "response_format", "stream_options"})
"""Fields that vLLM looks into before it checks their type."""

_SIBLINGS = {CHAT: COMPLETIONS, COMPLETIONS: CHAT}
"""Routes that generate text; what only the other one takes is refused by name."""


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


def complete_body(
    route: str, body: Mapping[str, Any], defaults: RequestDefaults
) -> tuple[dict[str, Any], Selection | None]:
    """Check and complete the body of an OpenAI-style request.

    Args:
        route: Path of the route.
        body: The client's body; not modified.
        defaults: Completes the model's name.

    Returns:
        Body to send, and what to keep of the answer (None: all of it).

    Raises:
        RequestError: Names that vLLM would ignore though they mean something.
    """
    complete = dict(body)
    fields = known_fields().get(route)
    if fields is None or not fields.known:
        return complete, None
    if route in _SIBLINGS:
        complete = drop_removed(complete, {**REMOVED, **UNREACHABLE})
    _check_stream(route, complete, fields)
    _refuse_unknown(route, complete, fields)
    if "model" in fields.known and not complete.get("model"):
        complete["model"] = defaults.model
    _check_objects(complete, fields)
    if route == CHAT and complete.get("messages") is not None:
        complete["messages"] = _read_messages(complete["messages"])
    if route in _SIBLINGS and complete.get("stream") and complete.get("use_beam_search"):
        raise fail(
            Code.CONFLICTING_PARAMETERS,
            "use_beam_search: beam search cannot be streamed; send stream: false",
            "use_beam_search",
        )
    selection = _take_best_of(route, complete) if route in _SIBLINGS else None
    return complete, selection


def _check_stream(route: str, body: Mapping[str, Any], fields: RouteFields) -> None:
    """Refuse what vLLM would convert: whether an answer streams must be certain beforehand."""
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise fail(
            Code.INVALID_PARAMETER,
            f"stream: expected true or false, got {kind_of(stream)}",
            "stream",
        )
    if stream and "stream" not in fields.known:
        raise fail(
            Code.UNSUPPORTED_PARAMETER, f"stream: {route} does not stream; remove it", "stream"
        )


def _refuse_unknown(route: str, body: Mapping[str, Any], fields: RouteFields) -> None:
    """Refuse unknown names that mean something; others are passed on and ignored by vLLM."""
    unknown = body.keys() - fields.known - fields.official - {"best_of"}
    for name in sorted(unknown)[:MOST_UNKNOWN]:
        # A form's list fields have brackets in vLLM's name; see upload.py.
        if body[name] is not None and f"{name}[]" not in fields.known:
            error = _explain_unknown(route, name, fields)
            if error is not None:
                raise error


def _explain_unknown(route: str, name: str, fields: RouteFields) -> RequestError | None:
    renamed = RENAMED.get(route, {}).get(name)
    if renamed is not None:
        return fail(
            Code.UNSUPPORTED_PARAMETER,
            f"{name}: vLLM would ignore it on {route}; send {renamed}",
            name,
        )
    sibling = _SIBLINGS.get(route)
    if sibling is not None and name in known_fields()[sibling].known:
        return fail(
            Code.UNSUPPORTED_PARAMETER,
            f"{name}: works only on {sibling}; vLLM would ignore it on {route}",
            name,
        )
    near = suggest(name, sorted(fields.known))
    if not near:
        return None
    return fail(
        Code.UNKNOWN_PARAMETER,
        f"{name}: unknown name, which vLLM would ignore.{did_you_mean(near)}",
        name,
    )


def _check_objects(body: Mapping[str, Any], fields: RouteFields) -> None:
    """Refuse other kinds where vLLM takes an object for granted and would fail."""
    for name in OBJECTS & fields.known & body.keys():
        if body[name] is not None and not isinstance(body[name], dict):
            raise fail(
                Code.INVALID_PARAMETER,
                f"{name}: expected an object, got {kind_of(body[name])}",
                name,
            )


def _read_messages(messages: object) -> object:
    """Return a text as one user message; refuse what makes vLLM stumble."""
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    if not isinstance(messages, list):
        raise fail(
            Code.INVALID_PARAMETER,
            f"messages: expected an array of messages or one text, got {kind_of(messages)}",
            "messages",
        )
    return messages


def _take_best_of(route: str, body: dict[str, Any]) -> Selection | None:
    """Replace `best_of`, which vLLM no longer has, by more sequences and a choice of them."""
    best_of = body.pop("best_of", None)
    if best_of is None:
        return None
    keep = 1 if body.get("n") is None else body["n"]
    if type(best_of) is not int or type(keep) is not int or not 1 <= keep <= best_of:
        got = best_of if type(best_of) is int else kind_of(best_of)
        raise fail(
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
    return ask_best_of(body, keep=keep, best_of=best_of, chat=route == CHAT)


def _conflict(message: str) -> RequestError:
    return fail(Code.CONFLICTING_PARAMETERS, f"best_of: {message}", "best_of")
