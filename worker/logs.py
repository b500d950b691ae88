"""The worker's log: one line per event on stderr, without secrets, prompts or answers."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable

REDACTED = "[redacted]"

SHORTEST_SECRET = 4
"""Shorter values are not redacted: they would blot out half of every line."""


class Redactor:
    """Replaces secret values in text.

    Args:
        secrets: The values that must not be printed.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        # Longest first, so that a secret that contains another leaves nothing of itself.
        self._secrets = sorted(
            {secret for secret in secrets if len(secret) >= SHORTEST_SECRET}, key=len, reverse=True
        )

    def __call__(self, text: str) -> str:
        """Return `text` with every secret replaced."""
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return text


class _RedactingFormatter(logging.Formatter):
    def __init__(self, redact: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))


def configure_logging(level: str, redact: Redactor) -> None:
    """Send the worker's own log to stderr.

    Args:
        level: Least severe level, a name of the `logging` module in any case.
        redact: Applied to each line, tracebacks included.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_RedactingFormatter(redact))
    logger = logging.getLogger("worker")
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
