"""The last handler of every command: turns an unexpected exception into one readable error.

A traceback does not help a user, and its text can hold part of a secret. Libraries repeat their
input, often shortened, and redaction by value cannot find a shortened secret.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from worker.errors import ConfigurationError, ExitCode, WorkerError, shorten
from worker.redaction import SECRET_NAME

PING = "RUNPOD_WEBHOOK_PING"
"""RunPod sets it in every queue worker; heartbeats go there."""

MESSAGE_LIMIT = 500
"""Characters of an unforeseen error's message that are shown."""

FRAMES = 4
"""Innermost calls that an unforeseen error names."""

MIN_PART_CHARS = 6
"""Characters of a secret that must not be shown in one piece."""

WITHHELD = "its message is not shown, because it contains part of a secret"


class UnforeseenError(WorkerError):
    """An unexpected error: a bug in the worker.

    Args:
        error: The error. Its message and places are shown, neither source nor values.
        environ: The process's environment; no part of its credentials is shown.
    """

    exit_code = ExitCode.FAILURE

    def __init__(self, error: BaseException, environ: Mapping[str, str]) -> None:
        places = traceback.extract_tb(error.__traceback__)[-FRAMES:]
        way = " < ".join(
            f"{Path(place.filename).name}:{place.lineno} {place.name}" for place in reversed(places)
        )
        super().__init__(
            f"{type(error).__name__} at {way}: {_message(error, environ)}. This is a bug in the "
            "worker. Please report this line and the names of the variables that are set"
        )


def _message(error: BaseException, environ: Mapping[str, str]) -> str:
    if hasattr(error, "errors") and hasattr(error, "title"):
        # pydantic's own text repeats the input.
        found = error.errors(include_url=False, include_context=False, include_input=False)
        text = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in found)
    else:
        text = " ".join(str(error).split())
    secrets = (value for name, value in environ.items() if SECRET_NAME.search(name.upper()))
    if any(holds_part(text, secret) for secret in secrets):
        return WITHHELD
    return shorten(text, MESSAGE_LIMIT)


def holds_part(text: str, secret: str) -> bool:
    """Whether `text` repeats six or more successive characters of a secret."""
    parts = (secret[n : n + MIN_PART_CHARS] for n in range(len(secret) - MIN_PART_CHARS + 1))
    return any(part in text for part in parts)


def end_start(
    error: Exception,
    environ: Mapping[str, str],
    redact: Callable[[str], str] = str,
) -> int:
    """Print why a start ends, report it to the platform, and return the exit status.

    Without the report, the platform starts the next container, which costs money and fails too.
    With it, the platform counts the worker as unhealthy and shows the reason.

    Args:
        error: Any error; a known one is printed, another one is described.
        environ: The process's environment.
        redact: Removes secrets from text.
    """
    known = error if isinstance(error, WorkerError) else UnforeseenError(error, environ)
    if isinstance(known, ConfigurationError):
        from worker.console import open_console, report_problems

        report_problems(known.problems, console=open_console(stderr=True))
    else:
        print(redact(f"error: {known}"), file=sys.stderr, flush=True)
    if environ.get(PING):
        _report_unhealthy(known, redact)
    return int(known.exit_code)


def _report_unhealthy(error: WorkerError, redact: Callable[[str], str]) -> None:
    check = getattr(error, "check", error.exit_code.name.lower())
    try:
        sdk = importlib.import_module("worker.queue").sdk
        sdk.set_log_level("error")
        sdk.report_unhealthy(check, redact(str(error)))
    except Exception as failure:  # noqa: BLE001  the first error is the one that counts
        print(
            f"error: the failure was not reported to RunPod: {type(failure).__name__}",
            file=sys.stderr,
            flush=True,
        )


def end_command(error: Exception, environ: Mapping[str, str]) -> int:
    """Print why a command other than `worker start` ends, and return the exit status."""
    known = error if isinstance(error, WorkerError) else UnforeseenError(error, environ)
    print(f"error: {known}", file=sys.stderr, flush=True)
    return int(known.exit_code)
