"""The worker's log: one line per event on stderr, without secrets, prompts or answers."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import os
import sys
import threading
from typing import Any

from worker.content import hide_content, hide_messages, is_below
from worker.errors import shorten
from worker.redaction import Redactor

JOB_ID = "job_id"
"""Attribute of a log record that belongs to one job."""

MAX_MESSAGE_CHARS = 4096
"""Characters; RunPod's SDK cuts its own messages at the same length."""

HTTP_LOGGERS = ("aiohttp", "asyncio")
"""Loggers, with their children, whose messages repeat what clients sent."""


class _SafeFormatter(logging.Formatter):
    """Lines without secrets and without the content of requests."""

    def __init__(
        self, redact: Redactor, layout: str = "%(asctime)s %(levelname)s %(message)s"
    ) -> None:
        super().__init__(layout, "%H:%M:%S")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        record = copy.copy(record)
        if is_below(record.name, HTTP_LOGGERS):
            hide_content(record)
        else:
            hide_messages(record)
        return self._redact(super().format(record))


class _PlatformFormatter(_SafeFormatter):
    """One JSON object per line, as RunPod's SDK writes it and RunPod's console reads it."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__(redact, "%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "requestId": getattr(record, JOB_ID, None),
            "message": shorten(super().format(record), MAX_MESSAGE_CHARS),
            "level": record.levelname,
        }
        return json.dumps(line, ensure_ascii=False)


def job_extra(job_id: object) -> dict[str, object]:
    """Return the `extra` argument of a log call that belongs to one job."""
    return {JOB_ID: job_id}


def configure_logging(level: str, redact: Redactor, *, as_json: bool = False) -> None:
    """Send all logs, Python's warnings and uncaught exceptions to stderr.

    Args:
        level: Least severe level of the worker's own log, a name of the `logging` module in any
            case; of libraries, warnings and errors are shown.
        redact: Applied to each line, tracebacks included.
        as_json: Write RunPod's lines of JSON instead of text.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter((_PlatformFormatter if as_json else _SafeFormatter)(redact))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("worker").setLevel(level.upper())
    # It logs every form that it cannot parse; vLLM answers those.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    logging.captureWarnings(capture=True)
    log = logging.getLogger(__name__)

    def report(what: str, error: BaseException | None) -> None:
        log.error("%s", what, exc_info=error)

    sys.excepthook = lambda _kind, error, _traceback: report("the worker failed", error)
    threading.excepthook = lambda args: report("a thread failed", args.exc_value)
    sys.unraisablehook = lambda args: report("an exception was ignored", args.exc_value)


class _RedactedText(io.TextIOWrapper):
    """A text stream that hides secrets, line by line."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._pending: list[str] = []
        self.redact = Redactor()
        super().__init__(*args, **options)

    def write(self, text: str) -> int:
        lines, end, rest = text.rpartition("\n")
        if end:
            self._pending.append(lines)
            super().write(self._redact_pending() + end)
        if rest:
            self._pending.append(rest)
        return len(text)

    def flush(self) -> None:
        if self._pending:
            super().write(self._redact_pending())
        super().flush()

    def _redact_pending(self) -> str:
        pending, self._pending = self._pending, []
        return self.redact("".join(pending))


class _BrokenPipeSafeFile(io.FileIO):
    """A file whose writes succeed after the reader has gone; the data is then discarded."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
        except OSError:
            # A full disk or a closed terminal: this line is lost, a later one may succeed.
            pass
        return memoryview(data).nbytes


def ignore_broken_output() -> None:
    """Ignore broken pipes on stdout and stderr.

    Otherwise the next write raises: in a job, in the SDK's loop, or in the reader of vLLM's output,
    whose pipe would then fill and stop vLLM. `redact_output` works only after this call.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        with contextlib.suppress(OSError, ValueError):  # Skip a stream without a descriptor.
            raw = _BrokenPipeSafeFile(stream.fileno(), "w", closefd=False)
            stream.flush()
            wrapped = _RedactedText(
                io.BufferedWriter(raw),
                encoding=stream.encoding,
                errors="backslashreplace",
                line_buffering=True,
            )
            setattr(sys, name, wrapped)


def redact_output(redact: Redactor) -> None:
    """Hide secrets in everything that this process and its forks print from now on.

    The worker's log hides them itself, before it cuts a line. This covers the rest: the SDK's log,
    vLLM's output, tracebacks.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, _RedactedText):
            stream.redact = redact
