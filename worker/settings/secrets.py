"""Which values are secret."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from worker.errors import Problem
from worker.redaction import SECRET_NAME, SECRET_REFERENCE, Redactor
from worker.settings.values import ResolvedValue

SECRETS_PAGE = "https://console.runpod.io/user/secrets"


def secret_values(values: Iterable[ResolvedValue], environ: Mapping[str, str]) -> Iterator[str]:
    """Yield every value that must not leave the process in any text.

    Args:
        values: Resolved settings; those declared secret count.
        environ: The environment; variables named like a credential count, and passwords in URLs.
    """
    for name, value in environ.items():
        if SECRET_NAME.search(name.upper()):
            yield value
        elif password := _url_password(value):
            yield password
    yield from (
        item.value.get_secret_value() for item in values if item.option.secret and item.value
    )


def _url_password(value: str) -> str | None:
    """Return the password of a URL such as `http://user:password@proxy:3128`."""
    if "://" not in value or "@" not in value:
        return None
    try:
        return urlsplit(value).password
    except ValueError:
        return None


def find_unreplaced(environ: Mapping[str, str]) -> Iterator[Problem]:
    """Yield a problem for each variable with a reference to a secret that RunPod has not replaced.

    It would be used as if it were the secret.
    """
    for name, value in sorted(environ.items()):
        if found := SECRET_REFERENCE.search(value):
            yield Problem(
                name,
                f"RunPod has not replaced the reference to the secret {found[1]}",
                expected=f"a secret of this name at {SECRETS_PAGE}",
                anchor="deployment.md#where-the-model-is-stored",
            )


def redact_problem(problem: Problem, redact: Redactor) -> Problem:
    """Return the problem with all secrets of the user's input hidden.

    What is not UTF-8 is escaped, because no output could show it.
    """

    def show(text: str) -> str:
        return redact(text).encode(errors="backslashreplace").decode()

    return dataclasses.replace(
        problem,
        where=show(problem.where),
        message=show(problem.message),
        got=None if problem.got is None else show(problem.got),
        expected=None if problem.expected is None else show(problem.expected),
        suggestions=tuple(map(show, problem.suggestions)),
    )
