"""Parameters as the client sent them: flattened, translated, reported when they have no effect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import islice
from typing import Any
from urllib.parse import quote

from worker.errors import RequestError, shorten
from worker.request.codes import Code, request_error
from worker.request.compat import LIMIT, TEMPLATE, CompatParameter
from worker.request.field import MAX_UNKNOWN_NAMES
from worker.request.json_value import json_type_name, same_value
from worker.suggest import suggest

SETTING = "REJECT_UNKNOWN_PARAMETERS"
"""Setting that rejects parameters without effect."""

IGNORED_HEADER = "X-Ignored-Parameters"
"""Response header that lists them over HTTP."""

MAX_SHOWN_NAMES = 16
"""Ignored parameters that one report names."""

MAX_NAME_CHARS = 64
"""Characters of a name in a report."""

CHAT_LIMIT = "max_completion_tokens"
"""Limit of output tokens under its name in the chat API."""


class SentParameters:
    """Parameters by name, each with the path at which the client sent it.

    Attributes:
        values: Values by the name that vLLM has for the parameter.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._sent: dict[str, tuple[str, str]] = {}

    def add(self, name: str, value: Any, prefix: str, sent: str | None = None) -> None:
        """Add a parameter.

        Args:
            name: vLLM's name of the parameter.
            value: A JSON value; null means not sent.
            prefix: Path of the object that contains it, with its trailing dot.
            sent: Name in the request, if it is another one.

        Raises:
            RequestError: The parameter was already added with another value.
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
        """Return the path of each parameter that was not sent as `prefix` and its own name."""
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
            f"{origin}: means the same as {other} but has another value; send one of them",
            origin,
        )


def flatten(body: Mapping[str, Any], containers: Set[str], prefix: str = "") -> SentParameters:
    """Return the parameters of `body`, with those in container objects at the same level.

    Args:
        body: Decoded JSON object.
        containers: Names of container objects, which may be nested.
        prefix: Path of `body`, with its trailing dot.

    Raises:
        RequestError: A parameter has two values, or `extra_body` is not an object.
    """
    parameters = SentParameters()
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
                parameters.add(name, value, path)
    return parameters


def translate(
    compat: CompatParameter, value: Any, known: Set[str], present: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """Return vLLM's equivalent of another server's parameter; None if there is none.

    Args:
        compat: The parameter.
        value: Its value.
        known: Names that have an effect in this place.
        present: The other parameters.
    """
    translated = compat.translate(value)
    if translated is None or not translated.keys() <= known:
        return None
    if LIMIT in translated and CHAT_LIMIT in known and present.get(CHAT_LIMIT) is not None:
        return {CHAT_LIMIT: translated[LIMIT]}
    return translated


def find_typos(names: Iterable[str], known: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the names that are likely typos, each with its suggestions.

    Only the first `MAX_UNKNOWN_NAMES` names are compared.
    """
    compared = {name: suggest(name, known) for name in islice(names, MAX_UNKNOWN_NAMES)}
    return {name: suggestions for name, suggestions in compared.items() if suggestions}


def unknown_parameters_error(ignored: Sequence[str]) -> RequestError:
    """Return the error for parameters without effect if a setting rejects them."""
    names = ", ".join(shown_names(ignored))
    return request_error(
        Code.UNKNOWN_PARAMETER,
        f"{names}: no effect in vLLM, and {SETTING} is set on this endpoint; remove it",
        _printable(ignored[0]),
    )


def shown_names(ignored: Sequence[str]) -> list[str]:
    """Return the first ignored names, shortened, and the number of the others."""
    names = [_printable(name) for name in ignored[:MAX_SHOWN_NAMES]]
    more = len(ignored) - len(names)
    return [*names, f"{more} more"] if more else names


def _printable(name: str) -> str:
    """Return a name without control characters and of bounded length."""
    return "".join(c if c.isprintable() else "?" for c in shorten(name, MAX_NAME_CHARS))


def ignored_header(ignored: Sequence[str]) -> dict[str, str]:
    """Return the response header that names ignored parameters; empty if there are none."""
    if not ignored:
        return {}
    # Names come from the client; a header has only visible ASCII characters.
    return {IGNORED_HEADER: ", ".join(quote(name, safe="[]") for name in shown_names(ignored))}


def ignored_warning(ignored: Sequence[str]) -> list[str]:
    """Return the warning of a native response about ignored parameters; empty if there are none."""
    names = ", ".join(shown_names(ignored))
    return [f"Ignored, because vLLM has no equivalent: {names}."] if names else []


class NameLog:
    """Remembers which names were logged, up to a limit, because clients choose the names.

    Args:
        limit: Names to remember; further names are not logged.
    """

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._names: set[str] = set()

    def add(self, names: Iterable[str]) -> list[str]:
        """Return the names that were not logged yet, shortened."""
        new = []
        for name in islice(names, MAX_SHOWN_NAMES):
            short = _printable(name)
            if short not in self._names and len(self._names) < self._limit:
                self._names.add(short)
                new.append(short)
        return new
