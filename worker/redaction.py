"""The one redactor: hides secrets in every text that leaves the process."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

REDACTED = "[redacted]"

MIN_SECRET_CHARS = 4
"""Characters. Shorter values stay: `1` or `no` occur in every text."""

SECRET_NAME = re.compile(
    r"(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIALS?)"
    r"(_ID)?$"
)
"""Names of variables that hold a credential."""

SECRET_REFERENCE = re.compile(r"\{\{ *RUNPOD_SECRET_([A-Za-z0-9_-]+) *\}\}")
"""What RunPod replaces with a secret when a worker starts.

Source: https://docs.runpod.io/pods/templates/secrets."""

PLACEHOLDERS = frozenset({"true", "false", "none", "null", "empty"})
"""Values, in lower case, that variables named like a credential have and that hide nothing."""

ENCODERS: tuple[Callable[[str], str], ...] = (
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: repr(text)[1:-1],
    lambda text: ascii(text)[1:-1],
    lambda text: repr(text.encode(errors="replace"))[2:-1],
    lambda text: quote(text, safe="", errors="replace"),
    lambda text: quote(text, errors="replace"),
    lambda text: quote_plus(text, errors="replace"),
    lambda text: shlex.quote(text).removeprefix("'").removesuffix("'"),
)
"""Encodings of a secret in JSON, a Python representation, a URL and a command line."""


class Redactor:
    """Replaces secrets in text, also where they are escaped, quoted or URL-encoded.

    A secret of several lines is hidden line by line too, because logs are read by line. The cost
    is proportional to the text.

    Args:
        secrets: The values to hide.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in _find_forms(secret)}
        self._forms = sorted(forms, key=lambda form: (-len(form), form))

    def __call__(self, text: str) -> str:
        """Return `text` with every secret replaced."""
        spans = sorted(
            span for form in self._forms if form in text for span in _find_spans(text, form)
        )
        if not spans:
            return text
        parts: list[str] = []
        end = 0
        for start, stop in spans:
            # Overlapping secrets are hidden together: replacing one would leave a rest of the next.
            if start >= end:
                parts += (text[end:start], REDACTED)
            end = max(end, stop)
        return "".join([*parts, text[end:]])

    def data(self, value: Any) -> Any:
        """Return JSON data with secrets replaced in every string, names included.

        Args:
            value: Any tree of mappings and sequences; other objects become their text.
        """
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, Mapping):
            return {self(str(name)): self.data(item) for name, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.data(item) for item in value]
        return self(str(value))


def _find_forms(secret: str) -> Iterator[str]:
    """Yield each text under which a secret may appear."""
    lines = secret.splitlines()
    for text in {secret, secret.strip(), *(line.strip() for line in lines)}:
        if len(text) < MIN_SECRET_CHARS or text.lower() in PLACEHOLDERS:
            continue
        once = {text, *(encode(text) for encode in ENCODERS)}
        # Twice for JSON in JSON, a representation in a line of JSON, and so on.
        yield from once
        yield from (encode(form) for form in once for encode in ENCODERS)


def _find_spans(text: str, form: str) -> Iterator[tuple[int, int]]:
    start = text.find(form)
    while start >= 0:
        yield start, start + len(form)
        # A form may overlap with itself, as `abab` in `ababab`.
        start = text.find(form, start + 1)
