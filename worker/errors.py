"""Every error that this worker reports, as data first and as text in one place.

Two families: a `ConfigurationError` stops a start, before vLLM is imported, with all problems at
once; a `RequestError` answers one job with an OpenAI error object and leaves the worker running.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from worker.suggest import did_you_mean

GOT_LIMIT = 80
"""Characters of a rejected value that an error repeats."""


class ExitCode(enum.IntEnum):
    """Exit statuses of the process."""

    OK = 0
    FAILURE = 1
    """Unexpected failure; the log has the cause."""
    CONFIGURATION = 2
    """A setting is wrong; a restart without a change fails again."""
    ENGINE_START = 3
    """vLLM could not start (model absent, out of memory, …)."""
    ENGINE_DIED = 4
    """vLLM ended while serving; another worker should take over."""
    UNAVAILABLE = 5
    """Something that the command needs is missing: a free port, disk space, a download, the SDK."""


class WorkerError(Exception):
    """Base class of all errors with a text for the user.

    The text names what failed, where, and what to do next. It never contains a secret.
    """

    exit_code: ExitCode = ExitCode.FAILURE


@dataclass(frozen=True, slots=True)
class Problem:
    """One error in the configuration.

    Attributes:
        where: What the user typed: a variable's name, or `file:key`.
        message: What is wrong with it, without a full stop.
        got: The rejected value as text; None for a secret or where no value is at fault.
        expected: What is accepted.
        suggestions: Nearest known names or values, best first, at most three.
        anchor: Where the docs describe `where`, as `page.md#anchor`.
    """

    where: str
    message: str
    got: str | None = None
    expected: str | None = None
    suggestions: tuple[str, ...] = ()
    anchor: str | None = None

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}"
        if self.got is not None:
            text += f"; got {shorten(self.got)!r}"
        if self.expected is not None:
            text += f"; expected {self.expected}"
        if self.suggestions:
            text += f".{did_you_mean(self.suggestions[:3])}"
        if self.anchor is not None:
            text += f"{'' if text.endswith(('.', '?')) else '.'} See docs/{self.anchor}"
        return text


class ConfigurationError(WorkerError):
    """The configuration is invalid; has all problems, sorted by place."""

    exit_code = ExitCode.CONFIGURATION

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.where))
        count = len(self.problems)
        heading = f"{count} configuration problem{'s' if count != 1 else ''}"
        super().__init__("\n".join([f"{heading}:", *(f"  {p}" for p in self.problems)]))


class UnavailableError(WorkerError):
    """A port, disk space, file or download that a command needs is not available."""

    exit_code = ExitCode.UNAVAILABLE


@dataclass(slots=True)
class RequestError(WorkerError):
    """One job cannot be answered; becomes an OpenAI error object.

    Attributes:
        message: What is wrong and what to send instead.
        code: Stable, snake_case, listed in docs/errors.md.
        status: HTTP status that the same error would have.
        type: OpenAI's error family, e.g. `invalid_request_error`.
        param: JSON path of the field at fault, e.g. `sampling_params.max_tokens`.
        extra: Further members of the error object, e.g. `retryable`.
        raised_at: Module and line that created the error, for the log only.
        stream_path: Route whose stream the client of a refused job reads; None without a stream.
    """

    message: str
    code: str
    status: int = 400
    type: str = "invalid_request_error"
    param: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    raised_at: str = field(default="", compare=False)
    stream_path: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        Exception.__init__(self, self.message)

    def detached(self) -> RequestError:
        """Return a copy without its traceback, to be stored.

        The traceback references the frame that stores the error. That cycle would live until the
        next garbage collection, and a serving worker collects rarely.
        """
        return replace(self)

    def body(self) -> dict[str, Any]:
        """Return the OpenAI error object, `{"error": {...}}`."""
        error = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
            "status": self.status,
            **self.extra,
        }
        return {"error": error}

    def json(self) -> str:
        """Return the error object as JSON text, the form that survives RunPod's SDK unchanged."""
        return json.dumps(self.body(), ensure_ascii=False)


def shorten(text: str, limit: int = GOT_LIMIT) -> str:
    """Cut `text` to `limit` characters, ending with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
