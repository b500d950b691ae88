"""Members of a request that the worker must place, translate or ignore before it is checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import islice
from typing import Any
from urllib.parse import quote

from worker.errors import RequestError, shorten
from worker.request.codes import Code, request_error
from worker.request.field import MAX_UNKNOWN_NAMES
from worker.request.foreign import LIMIT, TEMPLATE, Foreign
from worker.request.json_value import json_type_name, same_value
from worker.suggest import suggest

SETTING = "REJECT_UNKNOWN_PARAMETERS"
"""Setting that rejects parameters without effect."""

IGNORED_HEADER = "X-Ignored-Parameters"
"""Response header that lists them over HTTP."""

MAX_SHOWN_NAMES = 16
"""Ignored names that one report lists."""

MAX_NAME_CHARS = 64
"""Characters of a name that a report shows."""

OTHER_LIMIT = "max_completion_tokens"
"""The name by which a chat body may have its limit already."""


class Members:
    """Values by name, each with the path at which the client sent it.

    Attributes:
        values: By the name under which they go on.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._sent: dict[str, tuple[str, str]] = {}

    def add(self, name: str, value: Any, prefix: str, sent: str | None = None) -> None:
        """Add a value.

        Args:
            name: Name under which it goes on.
            value: A JSON value; null means not sent.
            prefix: Path of the object that had it, with its trailing dot.
            sent: Name under which it was sent, if that differs.

        Raises:
            RequestError: There is another value under this name.
        """
        old = self.values.get(name)
        if old is None:
            self.values[name] = value
            self._sent.pop(name, None)
            if prefix or sent is not None:
                self._sent[name] = (prefix, sent or name)
        elif name == TEMPLATE and isinstance(old, dict) and isinstance(value, dict):
            self.values[name] = self._merge(old, value, prefix + (sent or name))
        elif value is not None and not same_value(old, value):
            raise self._conflict(prefix + (sent or name), self.path_of(name))

    def path_of(self, name: str) -> str:
        """Return the path at which a value was sent."""
        return "".join(self._sent.get(name, ("", name)))

    def paths(self, prefix: str = "") -> dict[str, str]:
        """Return where values were sent that were not sent as `prefix` and their name."""
        sent = ((name, "".join(parts)) for name, parts in self._sent.items() if name in self.values)
        return {prefix + name: origin for name, origin in sent if origin != prefix + name}

    def _merge(self, old: dict[str, Any], new: dict[str, Any], origin: str) -> dict[str, Any]:
        for name in old.keys() & new.keys():
            if not same_value(old[name], new[name]):
                raise self._conflict(origin, f"{self.path_of(TEMPLATE)}.{name}")
        return {**old, **new}

    @staticmethod
    def _conflict(origin: str, other: str) -> RequestError:
        return request_error(
            Code.CONFLICTING_PARAMETERS,
            f"{origin}: means the same as {other} and has another value; send one of them",
            origin,
        )


def unfold(body: Mapping[str, Any], containers: Set[str], prefix: str = "") -> Members:
    """Return the members of `body` and of the objects whose members belong beside them.

    Args:
        body: Decoded JSON object.
        containers: Names of such objects; what they hold may hold further ones.
        prefix: Path of `body`, with its trailing dot.

    Raises:
        RequestError: Two places have different values, or `extra_body` is not an object.
    """
    members = Members()
    waiting: list[tuple[str, Mapping[str, Any]]] = [(prefix, body)]
    while waiting:
        path, values = waiting.pop()
        for name, value in values.items():
            if name in containers and isinstance(value, dict):
                waiting.append((f"{path}{name}.", value))
            elif name == "extra_body" and name in containers and value is not None:
                raise request_error(
                    Code.INVALID_PARAMETER,
                    f"{path}{name}: expected an object, got {json_type_name(value)}",
                    f"{path}{name}",
                )
            else:
                members.add(name, value, path)
    return members


def translate(
    foreign: Foreign, value: Any, known: Set[str], present: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """Return vLLM's equivalent of another server's parameter; None if there is none.

    Args:
        foreign: The parameter.
        value: Its value.
        known: Names that have an effect in this place.
        present: The other members.
    """
    members = foreign.translate(value)
    if members is None or not members.keys() <= known:
        return None
    if LIMIT in members and OTHER_LIMIT in known and present.get(OTHER_LIMIT) is not None:
        return {OTHER_LIMIT: members[LIMIT]}
    return members


def find_misspelt(names: Iterable[str], known: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the names that are likely misspellings, each with its suggestions.

    Only the first `MAX_UNKNOWN_NAMES` names are compared.
    """
    near = {name: suggest(name, known) for name in islice(names, MAX_UNKNOWN_NAMES)}
    return {name: meant for name, meant in near.items() if meant}


def reject(ignored: Sequence[str]) -> RequestError:
    """Return the error for parameters without effect, where a setting forbids them."""
    names = ", ".join(shown(ignored))
    return request_error(
        Code.UNKNOWN_PARAMETER,
        f"{names}: no effect in vLLM, and {SETTING} is set on this endpoint; remove it",
        _printable(ignored[0]),
    )


def shown(ignored: Sequence[str]) -> list[str]:
    """Return the ignored names that a report lists, cut, and how many more there are."""
    names = [_printable(name) for name in ignored[:MAX_SHOWN_NAMES]]
    more = len(ignored) - len(names)
    return [*names, f"{more} more"] if more else names


def _printable(name: str) -> str:
    """Return a name of bounded length on one line."""
    return "".join(c if c.isprintable() else "?" for c in shorten(name, MAX_NAME_CHARS))


def ignored_header(ignored: Sequence[str]) -> dict[str, str]:
    """Return the response header that names ignored parameters; empty where there are none."""
    if not ignored:
        return {}
    # Names come from the client; a header has only visible ASCII characters.
    return {IGNORED_HEADER: ", ".join(quote(name, safe="[]") for name in shown(ignored))}


def ignored_warning(ignored: Sequence[str]) -> list[str]:
    """Return the warning of a native response about ignored parameters; empty without them."""
    names = ", ".join(shown(ignored))
    return [f"Ignored, because vLLM has no equivalent: {names}."] if names else []


class NameLog:
    """Remembers which names were reported, up to a limit; names come from outside.

    Args:
        limit: Names to remember; further ones are not reported.
    """

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._names: set[str] = set()

    def add(self, names: Iterable[str]) -> list[str]:
        """Return those names that are reported now for the first time, cut to a bounded length."""
        fresh = []
        for name in islice(names, MAX_SHOWN_NAMES):
            short = _printable(name)
            if short not in self._names and len(self._names) < self._limit:
                self._names.add(short)
                fresh.append(short)
        return fresh
