"""The worker's log: one line per event on stderr, without secrets, prompts or answers."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
from typing import Any

from worker.errors import shorten
from worker.redaction import Redactor

JOB_ID = "job_id"
"""Attribute of a log record that is about one job."""

LONGEST_MESSAGE = 4096
"""Characters; RunPod's SDK cuts its own messages there."""


class _RedactingFormatter(logging.Formatter):
    def __init__(self, redact: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))


class _PlatformFormatter(logging.Formatter):
    """One JSON object per line, as RunPod's SDK writes it and RunPod's console reads it."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__("%(message)s")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "requestId": getattr(record, JOB_ID, None),
            "message": shorten(self._redact(super().format(record)), LONGEST_MESSAGE),
            "level": record.levelname,
        }
        return json.dumps(line, ensure_ascii=False)


def about_job(job_id: object) -> dict[str, object]:
    """Return the `extra` of a log call that is about one job."""
    return {JOB_ID: job_id}


def configure_logging(level: str, redact: Redactor, *, as_json: bool = False) -> None:
    """Send the worker's own log to stderr.

    Args:
        level: Least severe level, a name of the `logging` module in any case.
        redact: Applied to each line, tracebacks included.
        as_json: Write RunPod's lines of JSON instead of text.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter((_PlatformFormatter if as_json else _RedactingFormatter)(redact))
    logger = logging.getLogger("worker")
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


class _LastingFile(io.FileIO):
    """A descriptor that can be written to whatever becomes of its other end."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
        except OSError:
            # A full disk, a terminal that is gone: the line is lost, and maybe not the next one.
            pass
        return memoryview(data).nbytes


def keep_output_writable() -> None:
    """Let `print` and the log work on when whoever reads stdout or stderr goes away.

    Otherwise the first line after that raises wherever it is written: in the middle of a job, in
    the SDK's loop, or where vLLM's output is read, whose pipe would then fill and stop vLLM.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        with contextlib.suppress(OSError, ValueError):  # One that has no descriptor stays.
            raw = _LastingFile(stream.fileno(), "w", closefd=False)
            stream.flush()
            lasting = io.TextIOWrapper(
                io.BufferedWriter(raw),
                encoding=stream.encoding,
                errors="backslashreplace",
                line_buffering=True,
            )
            setattr(sys, name, lasting)
