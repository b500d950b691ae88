"""The container's environment: what the user set, and secrets by reference only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from worker.deploy.wishes import Wishes
from worker.errors import Problem
from worker.redaction import SECRET_NAME
from worker.settings.registry import OptionRegistry
from worker.sizing.target import is_model

SECRETS_PAGE = "https://console.runpod.io/user/secrets"
ANCHOR = "deploy-command.md#secrets"

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SECRET = re.compile(r"[A-Za-z0-9_-]+")
REFERENCE = re.compile(r"\{\{ RUNPOD_SECRET_[A-Za-z0-9_-]+ \}\}")
"""Source: https://docs.runpod.io/pods/templates/secrets."""


def refer(secret: str) -> str:
    """Return the text in whose place RunPod puts a secret when a worker starts."""
    return f"{{{{ RUNPOD_SECRET_{secret} }}}}"


def collect_variables(
    wishes: Wishes, environ: Mapping[str, str], registry: OptionRegistry, problems: list[Problem]
) -> dict[str, str]:
    """Return the variables that the user wants in the container.

    Args:
        wishes: The command line.
        environ: The user's own environment, for `--env NAME`.
        registry: All settings, to know those that are secret.
        problems: Gets what is wrong. The value of a secret is never repeated.
    """
    variables: dict[str, str] = {}
    for name, value in _plain(wishes.env or (), environ, problems):
        if is_secret(name, registry) and value and not REFERENCE.fullmatch(value):
            problems.append(_refusal(name))
        else:
            variables[name] = value
    for name, secret in _secrets(wishes.secret or (), problems):
        variables[name] = refer(secret)
    if wishes.profile is not None:
        name = "MODEL_NAME" if is_model(wishes.profile) else "PROFILE"
        if variables.get(name, wishes.profile) != wishes.profile:
            message = f"the argument is {wishes.profile}; give one of the two"
            problems.append(Problem(f"--env {name}", message, got=variables[name]))
        variables[name] = wishes.profile
    return variables


def is_secret(name: str, registry: OptionRegistry) -> bool:
    """Return whether nobody may read a variable's value: as declared, or else by its name."""
    option = registry.by_variable.get(name)
    return bool(SECRET_NAME.search(name.upper())) if option is None else option.secret


def _plain(
    given: Sequence[str], environ: Mapping[str, str], problems: list[Problem]
) -> Iterator[tuple[str, str]]:
    for item in given:
        name, assigned, value = item.partition("=")
        if not NAME.fullmatch(name):
            # What stands after the `=` may be a secret.
            problems.append(Problem("--env", "no name of a variable", name, "NAME=VALUE"))
        elif assigned:
            yield name, value
        elif name in environ:
            yield name, environ[name]
        else:
            message = "is not set in this shell, so that it has no value to take"
            problems.append(Problem(f"--env {name}", message, expected=f"--env {name}=VALUE"))


def _secrets(given: Sequence[str], problems: list[Problem]) -> Iterator[tuple[str, str]]:
    for item in given:
        name, _, secret = item.partition("=")
        if NAME.fullmatch(name) and SECRET.fullmatch(secret or name):
            yield name, secret or name
        else:
            # Who types the secret itself here must not read it in an error.
            message = "takes a variable's name and a secret's name, not its value"
            problems.append(
                Problem(f"--secret {name}", message, expected="NAME or NAME=SECRET", anchor=ANCHOR)
            )


def _refusal(name: str) -> Problem:
    return Problem(
        f"--env {name}",
        "is a secret, and everybody who may see the endpoint could read it there",
        expected=f"a RunPod secret: create it at {SECRETS_PAGE}, then --secret {name}=ITS_NAME",
        anchor=ANCHOR,
    )
