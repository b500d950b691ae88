"""OpenAI-style bodies: passed on as they are, except what vLLM would ignore without a word."""

from __future__ import annotations

import functools
import importlib.resources
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.request.call import Selection
from worker.request.codes import Code, fail
from worker.request.defaults import RequestDefaults
from worker.request.json_value import kind_of
from worker.request.question import ask_best_of
from worker.request.removed import REMOVED, drop_removed
from worker.request.routes import CHAT, COMPLETIONS
from worker.request.suggest import ask, suggest

CAPTURED_FILE = "captured.json"
"""Routes and names of request fields, captured from the pinned vLLM; inside this package."""

MOST_UNKNOWN = 32
"""Unknown names that are compared with known ones; a body with more is not a misspelt one."""

_GENERATING = frozenset({CHAT, COMPLETIONS})


@dataclass(frozen=True, slots=True)
class RouteFields:
    """Names that a route's body may have.

    Attributes:
        known: Fields of vLLM's request model.
        official: Further fields of the official API, which vLLM accepts and ignores.
    """

    known: frozenset[str]
    official: frozenset[str]


@functools.cache
def known_fields() -> dict[str, RouteFields]:
    """Return the captured field names by route."""
    text = importlib.resources.files("worker.request").joinpath(CAPTURED_FILE).read_text("utf-8")
    return {
        path: RouteFields(frozenset(names["known"]), frozenset(names["official"]))
        for path, names in json.loads(text)["routes"].items()
    }


def complete_body(
    route: str, body: Mapping[str, Any], defaults: RequestDefaults, prefix: str = ""
) -> tuple[dict[str, Any], bool, Selection | None]:
    """Check and complete the body of an OpenAI-style request.

    Args:
        route: Path of the route.
        body: The client's body; not modified.
        defaults: Completes the model's name.
        prefix: JSON path of the body, with its trailing dot, for errors.

    Returns:
        Body to send, whether the answer streams, and what to keep of the answer.

    Raises:
        RequestError: Names that vLLM would ignore though they mean something.
    """
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise fail(
            Code.INVALID_PARAMETER,
            f"{prefix}stream: expected true or false, got {kind_of(stream)}",
            f"{prefix}stream",
        )
    complete = dict(body)
    fields = known_fields().get(route)
    if route in _GENERATING:
        complete = drop_removed(complete, REMOVED, prefix)
    if fields is not None:
        _refuse_near_misses(complete, fields, prefix)
        if "model" in fields.known and not complete.get("model"):
            complete["model"] = defaults.model
    if route == CHAT and isinstance(complete.get("messages"), str):
        complete["messages"] = [{"role": "user", "content": complete["messages"]}]
    selection = _take_best_of(route, complete, prefix) if route in _GENERATING else None
    return complete, stream is True, selection


def _refuse_near_misses(body: Mapping[str, Any], fields: RouteFields, prefix: str) -> None:
    unknown = body.keys() - fields.known - fields.official - {"best_of"}
    for name in sorted(unknown)[:MOST_UNKNOWN]:
        near = suggest(name, sorted(fields.known))
        if near:
            raise fail(
                Code.UNKNOWN_PARAMETER,
                f"{prefix}{name}: unknown name, which vLLM would ignore.{ask(near)}",
                f"{prefix}{name}",
            )


def _take_best_of(route: str, body: dict[str, Any], prefix: str) -> Selection | None:
    """Replace `best_of`, which vLLM no longer has, by more sequences and a choice of them."""
    best_of = body.pop("best_of", None)
    if best_of is None:
        return None
    keep = 1 if body.get("n") is None else body["n"]
    param = f"{prefix}best_of"
    if type(best_of) is not int or type(keep) is not int or best_of < keep or keep < 1:
        raise fail(
            Code.INVALID_PARAMETER,
            f"{param}: expected an integer of at least n ({keep!r:.20}), got {best_of!r:.20}",
            param,
        )
    if best_of == keep:
        return None
    if body.get("stream"):
        raise fail(
            Code.CONFLICTING_PARAMETERS,
            f"{param}: cannot be above n ({keep}) in a stream, since the best sequences are "
            "known only at the end; send stream: false",
            param,
        )
    if body.get("temperature") == 0 and not body.get("use_beam_search"):
        raise fail(
            Code.CONFLICTING_PARAMETERS,
            f"{param}: must be 1 with temperature 0, which always gives one answer",
            param,
        )
    if body.get("echo") and route == COMPLETIONS and not isinstance(body.get("prompt"), str):
        raise fail(
            Code.CONFLICTING_PARAMETERS, f"{param}: works with echo only for a single text", param
        )
    return ask_best_of(body, keep=keep, best_of=best_of, chat=route == CHAT)
